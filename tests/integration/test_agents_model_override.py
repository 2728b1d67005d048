"""A run, or a step of it, says how models are asked: which one, how freely, with which words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.model_server import model_server

from starlings import Agent, LocalRun, StepContext
from starlings.agents.execute import execute
from starlings.llm import LlmSettings, ModelClient
from starlings.llm.client import MOST_OTHERS
from starlings.messages import ModelOverride, RetryPolicy, RunOptions, StepReady


@pytest.fixture
def server():
    with model_server() as running:
        yield running


def client(server, **more):
    given = {"openai_api_key": "sk-x", "openai_base_url": server.base_url, "model": "usual", **more}
    return ModelClient(LlmSettings(_env_file=None, retries=0, **given))


def ready(**told):
    override = ModelOverride(**told) if told else None
    return StepReady(
        run_id="r", step_id="s", attempt=1, agent="writer", task="Birds?", model=override
    )


def writer():
    agent = Agent("writer", description="Writes")

    @agent.step
    async def write(task: str, ctx: StepContext) -> str:
        return await ctx.model.text(task, instructions="You write.")

    return agent


async def asked(server, step, **settings):
    server.replies("Birds fly.")
    async with client(server, **settings) as model:
        done = await execute(writer(), step, model=model)
    return done, server.requests[-1] if server.requests else None


async def test_a_step_asks_the_model_that_its_run_wants_at_the_same_server_with_the_same_key(
    server,
):
    done, request = await asked(server, ready(model="large", temperature=0.5))
    assert (done.output, request["model"], request["temperature"]) == ("Birds fly.", "large", 0.5)
    assert server.headers[-1]["authorization"] == "Bearer sk-x"


async def test_what_the_run_does_not_say_stays_as_the_agent_has_it(server):
    _, plain = await asked(server, ready(), temperature=0.1)
    assert (plain["model"], plain["temperature"]) == ("usual", 0.1)
    _, cooler = await asked(server, ready(temperature=0.0), temperature=0.1)
    assert (cooler["model"], cooler["temperature"]) == ("usual", 0.0)
    _, other = await asked(server, ready(model="large"), temperature=0.1)
    assert (other["model"], other["temperature"]) == ("large", 0.1)


async def test_further_instructions_stand_behind_those_of_the_agent_and_count_as_sent(server):
    before, _ = await asked(server, ready())
    done, request = await asked(server, ready(prompt="Be brief."))
    assert request["messages"][0] == {"role": "system", "content": "You write.\n\nBe brief."}
    assert request["model"] == "usual"
    assert done.prompts != before.prompts, "the hash is of what was sent"


async def test_where_the_agent_has_no_instructions_those_of_the_run_are_all(server):
    agent = Agent("writer", description="Writes")

    @agent.step
    async def write(task: str, ctx: StepContext) -> str:
        return await ctx.model.using("other").text(task)

    server.replies("Birds fly.")
    async with client(server) as model:
        await execute(agent, ready(prompt="Be brief."), model=model)
    assert [m["role"] for m in server.requests[0]["messages"]] == ["system", "user"]
    assert server.requests[0]["model"] == "other", "what an agent chooses itself stays"


async def test_an_agent_that_chooses_tools_asks_otherwise_too(server):
    agent = Agent("math", description="Sums")

    @agent.tool
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    server.replies('{"calls": [{"tool": "add", "args": {"a": 1, "b": 2}}], "cannot": null}')
    async with client(server) as model:
        done = await execute(agent, ready(model="large", prompt="Be exact."), model=model)
    assert done.output == 3
    request = server.requests[0]
    assert request["model"] == "large"
    assert request["messages"][0]["content"].endswith("\n\nBe exact.")


async def test_a_model_that_runs_may_not_ask_for_is_not_asked(server):
    done, request = await asked(server, ready(model="dear"), models_allowed="small, large")
    assert request is None
    assert done.error is not None
    assert (done.error.code, done.error.retryable) == ("model_not_allowed", False)
    assert "STARLINGS_MODELS_ALLOWED" in done.error.message
    for fine in ({"model": "large"}, {"temperature": 1.0}):
        done, _ = await asked(server, ready(**fine), models_allowed="small, large")
        assert done.error is None


async def test_whoever_writes_to_the_log_cannot_make_an_agent_keep_clients_without_end(server):
    async with client(server) as model:
        for number in range(MOST_OTHERS):
            model.for_run(f"m{number}")
        server.replies("Birds fly.")
        done = await execute(writer(), ready(model="m3"), model=model)
        assert done.error is None
        done = await execute(writer(), ready(model="one more"), model=model)
    assert done.error is not None
    assert done.error.code == "model_not_allowed"


@pytest.mark.parametrize("told", [{"base_url": "http://x"}, {"api_key": "k"}, {"api_key_env": "K"}])
def test_nothing_that_is_said_of_models_tells_where_they_are_asked(told):
    known = ModelOverride.model_validate({"model": "m", **told})
    assert known.model_dump(exclude_none=True) == {"model": "m"}


@pytest.mark.parametrize("wrong", [{"model": ""}, {"temperature": 3}, {"prompt": "x" * 20_001}])
def test_what_makes_no_sense_is_no_way_to_ask(wrong):
    with pytest.raises(ValidationError):
        ModelOverride.model_validate(wrong)


async def test_what_a_step_says_goes_before_what_its_run_says(server):
    steps = [
        {"id": "a", "agent": "writer", "task": "one"},
        {"id": "b", "agent": "writer", "task": "two", "depends_on": ["a"], "model": {"model": "b"}},
    ]
    options = RunOptions(
        model=ModelOverride(model="large", prompt="Be brief."), retry=RetryPolicy(attempts=1)
    )
    server.replies("1", "2")
    async with client(server) as model:
        done = await LocalRun({"steps": steps}, [writer()], options=options, model=model)
    assert done.outcome.value == "completed"
    assert [request["model"] for request in server.requests] == ["large", "b"]
    assert all("Be brief." in r["messages"][0]["content"] for r in server.requests)
