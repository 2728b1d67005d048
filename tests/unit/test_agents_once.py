"""`ctx.once`: an answer is kept by its name, as JSON; errors and nonsense are not."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime

import pytest

from starlings import Agent, Result, StepContext
from starlings.agents.execute import execute
from starlings.agents.once import CallsInMemory, remembering
from starlings.messages import Amendment, Compensation, StepFailed, StepReady, Usage
from starlings.testing import LocalRun

READY = StepReady(run_id="r1", step_id="s1", attempt=1, agent="test", task="do it")


def context() -> StepContext:
    return StepContext(run_id="r1", step_id="s1", attempt=1, agent="test")


class Counted:
    """Counts how often it is called."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.calls = 0

    def plain(self):
        self.calls += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def coroutine(self):
        return self.plain()


@pytest.mark.parametrize("kind", ["plain", "coroutine", "lambda", "partial"])
async def test_a_call_is_made_once_whatever_it_is(kind):
    counted, ctx = Counted(7, 8), context()
    call = {
        "plain": counted.plain,
        "coroutine": counted.coroutine,
        "lambda": lambda: counted.coroutine(),  # noqa: PLW0108 - that is the point
        "partial": functools.partial(counted.coroutine),
    }[kind]
    assert await ctx.once("ask", call) == 7
    assert await ctx.once("ask", call) == 7
    assert await ctx.once("other", call) == 8
    assert counted.calls == 2


async def test_an_answer_that_is_null_is_an_answer():
    counted, ctx = Counted(None), context()
    assert await ctx.once("ask", counted.plain) is None
    assert await ctx.once("ask", counted.plain) is None


async def test_the_answer_is_what_its_readers_will_see_already_the_first_time():
    ctx = context()
    moment = datetime(2025, 1, 2, tzinfo=UTC)
    assert await ctx.once("when", lambda: {"at": moment, 1: (2,)}) == {
        "at": "2025-01-02T00:00:00Z",
        "1": [2],
    }


async def test_errors_are_not_kept():
    counted, ctx = Counted(LookupError("not there"), 2), context()
    with pytest.raises(LookupError):
        await ctx.once("ask", counted.plain)
    assert await ctx.once("ask", counted.plain) == 2


async def test_two_at_a_time_under_one_name_are_one_call():
    counted, ctx = Counted(1, 2), context()
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return counted.plain()

    both = asyncio.gather(ctx.once("ask", slow), ctx.once("ask", slow))
    await asyncio.sleep(0)
    gate.set()
    assert await both == [1, 1]


@pytest.mark.parametrize("name", ["", None, 7, "x" * 201, "starlings:model/1"])
async def test_a_name_that_tells_nothing_apart_is_refused(name):
    with pytest.raises(StepFailed, match=r"ctx\.once"):
        await context().once(name, lambda: 1)


async def test_a_call_that_was_made_already_and_an_answer_that_is_no_json_are_refused():
    counted, ctx = Counted(1), context()
    with pytest.raises(StepFailed, match="takes the function, not its call"):
        await ctx.once("ask", counted.coroutine())
    assert counted.calls == 0
    with pytest.raises(StepFailed, match="the answer of 'ask' is not JSON-serialisable"):
        await ctx.once("ask", object)


class Model:
    """Gives the answers that it was given, and counts."""

    def __init__(self, *values) -> None:
        self.values = list(values)

    async def structured(self, _messages, _schema, *, name, validate, adapt, on_usage):
        del name
        value = adapt(self.values.pop(0))
        assert validate(value) == []
        usage = Usage(model="m", calls=1)
        on_usage(usage)
        return type("Answer", (), {"value": value, "usage": usage})()


def booking_agent(done: list[str], *, fails: int = 0) -> Agent:
    agent = Agent("test", description="Books")
    failing = [True] * fails

    @agent.tool
    async def book(what: str, ctx: StepContext) -> Result:
        """Books."""
        number = await ctx.once("number", lambda: len(done) + 1)
        done.append(f"book {what}")
        undo = Compensation(agent="test", input=what) if what == "flight" else False
        return Result({what: number}, summary=f"booked {what}", usage=Usage(calls=2), undo=undo)

    @agent.tool(idempotent=True)
    def look(at: str) -> str:
        """Looks."""
        done.append(f"look {at}")
        if failing and failing.pop():
            raise KeyboardInterrupt  # as a crash would
        return at

    return agent


def plan(*calls: tuple[str, dict]) -> dict:
    made = [{"tool": tool, "args": args, "reasoning": "r"} for tool, args in calls]
    return {"calls": made, "cannot": None}


async def test_a_tool_plan_that_is_started_again_asks_no_model_and_repeats_no_call():
    done: list[str] = []
    agent = booking_agent(done, fails=1)
    calls = (
        ("book", {"what": "flight"}),
        ("book", {"what": "hotel"}),
        ("look", {"at": "both"}),
    )
    memory = CallsInMemory()
    model = Model(plan(*calls))
    with remembering(lambda: memory):
        with pytest.raises(KeyboardInterrupt):
            await execute(agent, READY, model=model)
        again = await execute(agent, READY, model=model)

    assert done == ["book flight", "book hotel", "look both", "look both"]
    assert again.output == "both"
    assert (again.usage.calls, again.usage.model) == (5, "m")  # all that it cost, once
    assert [call.output for call in again.calls] == [{"flight": 1}, {"hotel": 2}, "both"]
    assert memory.find("starlings:call/1/x/0") is None


async def test_kept_answers_for_tools_that_the_agent_has_no_more_are_void():
    done: list[str] = []
    memory = CallsInMemory()
    with remembering(lambda: memory):
        first = await execute(
            booking_agent(done), READY, model=Model(plan(("book", {"what": "x"})))
        )
        newer = Agent("test", description="Books otherwise")

        @newer.tool
        def reserve(what: str) -> str:
            """Reserves."""
            return f"reserved {what}"

        second = await execute(newer, READY, model=Model(plan(("reserve", {"what": "x"}))))
    assert (first.output, second.output) == ({"x": 1}, "reserved x")


async def test_what_a_tool_says_beside_its_output_is_kept_too():
    memory = CallsInMemory()
    done: list[str] = []
    model = Model(plan(("book", {"what": "flight"})))
    with remembering(lambda: memory):
        first = await execute(booking_agent(done), READY, model=model)
        again = await execute(booking_agent(done), READY, model=model)
    assert done == ["book flight"]
    rest = {"duration_s": 0, "kept": None}
    assert again.model_copy(update=rest) == first.model_copy(update=rest)
    assert again.compensation == Compensation(agent="test", input="flight")


async def test_amendments_of_tools_are_kept_with_their_calls_and_put_together():
    done: list[str] = []
    agent = Agent("test", description="Splits work")
    failing = [True]

    @agent.tool
    def hand_out(part: str) -> Result:
        """Hands out a part."""
        done.append(part)
        step = {"id": part, "agent": "test", "task": part}
        return Result(part, amend=Amendment(add=[step], reason="much to do"), replan="dull")

    @agent.tool(idempotent=True)
    def look() -> str:
        """Looks."""
        if failing and failing.pop():
            raise KeyboardInterrupt  # as a crash would
        return "all handed out"

    memory = CallsInMemory()
    model = Model(plan(("hand_out", {"part": "a"}), ("hand_out", {"part": "b"}), ("look", {})))
    with remembering(lambda: memory):
        with pytest.raises(KeyboardInterrupt):
            await execute(agent, READY, model=model)
        again = await execute(agent, READY, model=model)

    assert done == ["a", "b"]
    assert [step.id for step in again.amendment.add] == ["a", "b"]
    assert (again.output, again.amendment.reason, again.replan) == (
        *("all handed out", "much to do"), "dull",
    )  # fmt: skip


async def test_a_run_in_one_process_has_it_too_and_a_retry_asks_anew():
    agent = Agent("test", description="Asks")
    asked: list[int] = []

    @agent.step
    async def work(ctx: StepContext) -> int:
        for _ in range(3):
            await ctx.once("ask", lambda: asked.append(ctx.attempt))
        if ctx.attempt == 1:
            raise StepFailed("again", retryable=True)
        return len(asked)

    step = {"id": "s1", "agent": "test", "task": "x", "retry": {"attempts": 2, "initial_s": 0}}
    done = await LocalRun({"steps": [step]}, agents=[agent], skip_waits=True)
    assert (done.output, asked) == (2, [1, 2])
