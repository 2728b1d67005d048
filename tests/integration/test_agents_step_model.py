"""`ctx.model`: what a step asks of a model is kept, and counts once."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import BaseModel
from support.model_server import Reply, model_server, refusal

from starlings import (
    Agent,
    Event,
    EventContext,
    LocalChoreography,
    LocalRun,
    StepContext,
    StepFailed,
)
from starlings.agents.compensate import execute_compensation
from starlings.agents.execute import execute
from starlings.agents.models import AgentModels
from starlings.agents.once import CallsInMemory, remembering
from starlings.agents.streamed_text import StreamedText
from starlings.llm import LlmSettings, ModelClient
from starlings.llm.chat import tool_result, user
from starlings.messages import (
    CompensationReady,
    RetryPolicy,
    StepReady,
    Timeouts,
    ToolDefinition,
    TransientError,
)

READY = StepReady(run_id="r", step_id="s", attempt=1, agent="writer", task="Write about birds")


class Review(BaseModel):
    good: bool
    wishes: list[str] = []


@pytest.fixture
def server():
    with model_server() as running:
        yield running


def client(server, **more):
    given = {"openai_api_key": "sk-x", "openai_base_url": server.base_url, "retries": 0, **more}
    return ModelClient(LlmSettings(_env_file=None, **given))


def writer(write):
    agent = Agent("writer", description="Writes")
    agent.step(write)
    return agent


async def run(server, write, *script, ready=READY, **more):
    server.replies(*script)
    async with client(server, **more) as model:
        return await execute(writer(write), ready, model=model)


async def test_a_step_function_asks_for_text_and_for_values_and_all_of_it_counts(server):
    async def write(task: str, ctx: StepContext) -> list:
        text = await ctx.model.text(task, instructions="You write.")
        review = await ctx.model.value(f"Review: {text}", Review)
        return [text, review.model_dump()]

    done = await run(server, write, "Birds fly.", '{"good": "perhaps"}', '{"good": true}')
    assert done.output == ["Birds fly.", {"good": True, "wishes": []}]
    assert (done.usage.calls, done.usage.input_tokens) == (3, 30)
    assert server.requests[0]["messages"] == [
        {"role": "system", "content": "You write."},
        {"role": "user", "content": "Write about birds"},
    ]
    assert "good: Input should be a valid boolean" in server.requests[2]["messages"][-1]["content"]


async def test_a_step_that_is_started_again_pays_for_no_answer_twice_and_counts_each_once(server):
    crashes = [True]

    async def write(task: str, ctx: StepContext) -> list:
        drafts = await asyncio.gather(*(ctx.model.text(task) for _ in range(2)))
        if crashes.pop():
            raise KeyboardInterrupt
        return [*sorted(drafts), await ctx.model.text("A title")]

    memory = CallsInMemory()
    crashes.insert(0, False)
    with remembering(lambda: memory):
        with pytest.raises(KeyboardInterrupt):
            await run(server, write, "one", "two")
        done = await run(server, write, "Title")
    assert done.output == ["one", "two", "Title"]
    assert done.usage.calls == 3
    assert len(server.requests) == 3


async def test_what_a_failed_attempt_cost_is_told(server):
    async def write(ctx: StepContext) -> str:
        await ctx.model.text("first")
        return await ctx.model.text("second")

    done = await run(server, write, "fine", refusal(401))
    assert done.error.code == "model_unauthorized"
    assert done.usage.calls == 1


async def test_what_was_used_before_the_time_ran_out_is_told(server):
    async def write(ctx: StepContext) -> str:
        await ctx.model.value("birds?", Review)
        return "never"

    hanging = Reply(hangs=True)
    ready = READY.model_copy(update={"timeouts": Timeouts(run_s=1.0)})
    done = await run(server, write, "no JSON", hanging, ready=ready)
    assert done.error.code == "timeout"
    assert done.usage.calls == 1


async def test_a_conversation_with_tools_is_kept_turn_by_turn(server):
    look = ToolDefinition(name="look")
    crashes = [False, True]

    async def write(ctx: StepContext) -> str:
        messages = [user("Look")]
        turn = await ctx.model.chat(messages, tools=[look])
        if crashes.pop():
            raise KeyboardInterrupt
        messages += [turn.message, tool_result(turn.calls[0], "a bird")]
        return (await ctx.model.chat(messages, tools=[look])).text

    memory = CallsInMemory()
    with remembering(lambda: memory):
        with pytest.raises(KeyboardInterrupt):
            await run(server, write, json.dumps({"name": "look", "arguments": {}}))
        done = await run(server, write, "I see a bird.")
    assert (done.output, done.usage.calls) == ("I see a bird.", 2)


async def test_several_models_of_one_server_are_asked_in_a_debate(server):
    async def write(task: str, ctx: StepContext) -> list:
        return [await ctx.model.using(name, temperature=1.0).text(task) for name in ("a-1", "b-2")]

    done = await run(server, write, "yes", "no")
    assert done.output == ["yes", "no"]
    asked = [(request["model"], request["temperature"]) for request in server.requests]
    assert asked == [("a-1", 1.0), ("b-2", 1.0)]


async def test_without_a_model_the_step_says_what_to_set():
    async def write(ctx: StepContext) -> str:
        return await ctx.model.text("hello")

    done = await execute(writer(write), READY)
    assert done.error.code == "no_model"
    assert "OPENAI_API_KEY" in done.error.message


async def test_a_compensation_asks_the_model_of_its_agent_and_what_it_cost_counts(server):
    agent = writer(lambda: "sent")

    @agent.compensate
    async def apologise(sent: str, ctx: StepContext) -> str:
        return await ctx.model.text(f"Apologise for: {sent}")

    server.replies("Sorry.")
    undo = CompensationReady(
        run_id="r", step_id="s", attempt=1, number=1, agent="writer", input="sent"
    )
    async with client(server) as model:
        done = await execute_compensation(agent, undo, model=model)
    assert (done.output, done.usage.calls) == ("Sorry.", 1)
    assert server.requests[0]["messages"][-1]["content"] == "Apologise for: sent"


async def test_a_compensation_in_a_local_run_has_its_model_too(server):
    agent, broken = writer(lambda: "sent"), Agent("broken", description="Fails")
    undone = []

    @broken.step
    def fail() -> None:
        raise StepFailed("no")

    @agent.compensate
    async def apologise(ctx: StepContext) -> None:
        undone.append(await ctx.model.text("Apologise"))

    server.replies("Sorry.")
    steps = [
        {"id": "a", "agent": "writer", "task": "x"},
        {"id": "b", "agent": "broken", "task": "x", "depends_on": ["a"]},
    ]
    async with client(server) as model:
        done = await LocalRun(steps, agents=[agent, broken], model=model)
    assert (done.outcome, done.usage.calls, undone) == ("compensated", 1, ["Sorry."])


class Asked(Event):
    text: str


class Told(Event):
    text: str


def listener(name: str = "writer") -> Agent:
    agent = Agent(name, description="Answers")

    @agent.on(Asked, retry=RetryPolicy(attempts=2))
    async def answer(event: Asked, ctx: EventContext) -> Told:
        first = await ctx.model.text(event.text, instructions="You answer.")
        if ctx.attempt == 1:
            raise TransientError("not well enough")
        return Told(text=first)

    return agent


async def test_a_reaction_asks_the_model_of_its_agent_and_all_its_tries_count(server):
    server.replies("one", "two")
    async with client(server) as model:
        local = LocalChoreography([listener()], model=model, skip_waits=True)
        chain = await local.emit(Asked(text="Well?"))
    assert chain.of(Told) == [Told(text="two")]
    handled = chain.handled[0]
    assert (handled.usage.calls, handled.attempts) == (2, 2)
    assert [prompt.partition(":")[0] for prompt in handled.prompts] == ["own"]


async def test_without_a_model_a_reaction_says_what_to_set():
    chain = await LocalChoreography([listener()]).emit(Asked(text="Well?"))
    assert chain.failed[0].error.code == "no_model"
    assert chain.failed[0].usage is None


async def test_what_a_model_writes_is_told_while_it_writes_where_that_is_wanted():
    signs = []

    async def heard(sign):
        signs.append(sign)

    async def write(ctx: StepContext) -> str:
        return await ctx.model.text("Who are you?")

    told = {}
    for stream in (True, False):
        settings = LlmSettings(_env_file=None, stream=stream)
        async with AgentModels(settings) as models:
            agent = writer(write)
            done = await execute(agent, READY, model=models.of(agent), heartbeat=heard)
        told[stream] = [sign["model"] for sign in signs]
        signs.clear()
        assert done.error is None
    assert "".join(sign["text"] for sign in told[True]) == done.output
    assert told[True][0]["at"] == 0
    assert told[False] == []


async def test_signs_are_rare_tell_all_of_the_text_and_begin_anew_with_it():
    signs, now = [], [0.0]

    async def heard(sign):
        signs.append((sign["model"]["at"], sign["model"]["text"]))

    streamed = StreamedText(heard, monotonic=lambda: now[0])
    for second, piece in ((0.0, ""), (0.1, "a "), (0.2, "b "), (0.6, "c "), (0.7, "d ")):
        now[0] = second
        await streamed(piece)
    assert signs == [(0, "a b c ")]
    await streamed("")
    await streamed("x")
    await streamed.flush()
    assert signs[1:] == [(0, "x")]
