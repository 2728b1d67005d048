"""Prompts in files: their versions, and what facts tell of them."""

from __future__ import annotations

import pytest

from starlings import Agent, StepContext
from starlings.agents.execute import execute
from starlings.agents.models import AgentModels
from starlings.llm import LlmSettings, Prompt
from starlings.llm.prompt_file import packaged_prompt, stamp
from starlings.messages import ConfigError, RunRequested, StepReady
from starlings.planning import Planner

# Whoever changes the words of one gives it a new version, and writes both down here.
RELEASED = {
    ("starlings.agents", "tool_plan"): "tool_plan/1:37f7108cfd1c",
    ("starlings.planning", "planner"): "planner/2:6346aeb4d788",
}


@pytest.mark.parametrize(("package", "name"), RELEASED)
def test_changed_words_have_a_new_version(package, name):
    prompt = packaged_prompt(package, name)
    assert stamp(prompt.label, prompt.text) == RELEASED[package, name]


def test_a_file_is_read_with_its_version_and_filled_once(tmp_path):
    file = tmp_path / "writer.md"
    file.write_text("---\nversion: 3\n---\nYou write for {{whom}}, not for {{steps.s1.output}}.\n")
    prompt = Prompt.load(file)
    assert prompt.label == "writer/3"
    filled = prompt.filled(whom="{{whom}}")
    assert filled == "You write for {{whom}}, not for {{steps.s1.output}}."


@pytest.mark.parametrize(
    "content", ["Words", "---\nversion:\n---\nWords", "---\nversion: 1\n---\n"]
)
def test_a_file_without_version_or_words_is_refused_by_its_name(tmp_path, content):
    file = tmp_path / "writer.md"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"writer\.md has to begin with"):
        Prompt.load(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.md cannot be read"):
        Prompt.load(tmp_path / "none.md")


READY = StepReady(run_id="r", step_id="s", attempt=1, agent="a", task="Add 2 and 3")


async def done_by(agent):
    async with AgentModels(LlmSettings(_env_file=None)) as models:
        return await execute(agent, READY, model=models.of(agent))


def adder(**more):
    agent = Agent("a", description="Adds", **more)

    @agent.tool
    def add(a: float, b: float) -> float:
        """Adds."""
        return a + b

    return agent


async def test_a_step_tells_which_prompt_its_tools_were_chosen_with():
    (plain,) = (await done_by(adder())).prompts
    (told,) = (await done_by(adder(instructions="Be brief."))).prompts
    assert plain.startswith("tool_plan/1:")
    assert told.startswith("tool_plan/1:")
    assert plain != told  # the hash is that of all that was sent


async def test_a_step_function_tells_each_prompt_once_and_none_where_it_asks_nothing(tmp_path):
    file = tmp_path / "writer.md"
    file.write_text("---\nversion: 2\n---\nYou write.\n")
    agent, idle = Agent("a", description="Writes"), Agent("a", description="Idles")

    @agent.step
    async def write(task: str, ctx: StepContext) -> str:
        for instructions in (Prompt.load(file), "You review.", Prompt.load(file)):
            await ctx.model.text(task, instructions=instructions)
        return task

    @idle.step
    def rest(task: str) -> str:
        return task

    done = await done_by(agent)
    assert done.prompts == [stamp("writer/2", "You write."), stamp("own", "You review.")]
    nothing = await done_by(idle)
    assert nothing.prompts is None
    assert "prompts" not in nothing.model_dump(mode="json")


async def test_a_plan_tells_which_prompt_it_was_made_with():
    agents = {"a": adder().definition()}
    async with AgentModels(LlmSettings(_env_file=None)) as models:
        planner = Planner(models.client("planner"))
        asked = RunRequested(request="Add 2 and 3")
        made = await planner.plan(asked, run_id="r", agents=agents, alive={"a"})
    assert made.prompt.startswith("planner/2:")
