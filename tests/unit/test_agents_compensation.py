"""Undoing a step: what is recorded with its result, and one try to carry that out."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel
from support.agents import ready

from starlings import Agent, Result, StepContext, StepFailed, TransientError
from starlings.agents.compensate import execute_compensation
from starlings.agents.execute import execute
from starlings.messages import (
    Compensation,
    CompensationDone,
    CompensationReady,
    ConfigError,
    DependencyResult,
    StepDone,
    StepOutcome,
    Timeouts,
)

BOOKED = {"id": "b7", "price": 99.0}


class Booking(BaseModel):
    id: str
    price: float


def undoing(**more):
    given = {"run_id": "r1", "step_id": "s1", "attempt": 2, "number": 1, "agent": "a"}
    result = DependencyResult(step_id="s1", agent="a", summary="booked", output=BOOKED)
    return CompensationReady(
        **{**given, "input": BOOKED, "context": [result], "reason": "the hotel is full", **more}
    )


def agent_with(compensation=None):
    agent = Agent("a", description="Books and cancels")

    @agent.step
    def book() -> Booking:
        return Booking(**BOOKED)

    if compensation is not None:
        agent.compensate(compensation)
    return agent


async def undo(compensation, **more):
    agent = compensation if isinstance(compensation, Agent) else agent_with(compensation)
    done = await execute_compensation(agent, undoing(**more), instance="i1")
    assert CompensationDone.model_validate_json(done.model_dump_json()) == done
    return done


async def failure(compensation, **more):
    done = await undo(compensation, **more)
    assert done.outcome is StepOutcome.ERROR
    assert (done.output, done.summary) == (None, None)
    return done.error


# -- what is recorded ------------------------------------------------------------------------------


async def recorded(agent, **more):
    done = await execute(agent, ready(**more))
    assert StepDone.model_validate_json(done.model_dump_json()) == done
    return done


def returning(result, *, compensates=True):
    agent = Agent("a", description="Does things")
    agent.step(lambda: result)
    if compensates:
        agent.compensate(lambda: None)
    return agent


async def test_an_agent_that_compensates_records_itself_with_every_result():
    done = await recorded(agent_with(lambda: None))
    assert done.compensation == Compensation(agent="a")  # without input: what the step returned


async def test_an_agent_that_does_not_compensate_records_nothing():
    assert (await recorded(agent_with())).compensation is None


async def test_a_step_that_failed_records_nothing():
    agent = Agent("a", description="Fails")

    @agent.step
    def fail() -> None:
        raise StepFailed("no")

    agent.compensate(lambda: None)
    assert (await recorded(agent)).compensation is None


async def test_a_step_may_name_another_compensation_or_say_that_there_is_nothing_to_undo():
    other = Compensation(agent="mail", tool="send", args={"text": "sorry"})
    assert (await recorded(returning(Result(1, undo=other)))).compensation == other
    named = returning(Result(1, undo=other), compensates=False)
    assert (await recorded(named)).compensation == other
    assert (await recorded(returning(Result(1, undo=False)))).compensation is None
    assert (await recorded(returning(Result(1)))).compensation == Compensation(agent="a")


async def test_an_undo_that_is_no_compensation_or_cannot_be_sent_fails_the_step():
    wrong = (await recorded(returning(Result(1, undo="cancel")))).error
    assert wrong.code == "output_invalid"
    assert "undo of type str has to be True, False or a Compensation" in wrong.message
    lonely = Compensation(agent="a").model_copy(update={"input": "\ud800"})
    unsendable = (await recorded(returning(Result(1, undo=lonely)))).error
    assert unsendable.code == "output_not_json"
    assert "what undoes the output of step" in unsendable.message


def test_the_definition_says_whether_an_agent_compensates():
    assert agent_with(lambda: None).definition().compensates
    assert not agent_with().definition().compensates


def test_one_function_undoes_and_takes_one_value():
    with pytest.raises(ConfigError, match="undoes its steps already"):
        agent_with(lambda: None).compensate(lambda: None)

    def two(booking: Booking, why: str) -> None: ...

    with pytest.raises(ConfigError, match="at most one parameter"):
        agent_with(two)


# -- one try ---------------------------------------------------------------------------------------


async def test_a_compensation_gets_what_the_step_returned_and_knows_why_it_is_undone():
    seen = []

    async def cancel(booking: Booking, ctx: StepContext) -> str:
        seen.append((booking, ctx))
        return f"{booking.id} cancelled"

    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    agent, work = agent_with(cancel), undoing(timeouts=Timeouts(run_s=60))
    done = await execute_compensation(agent, work, instance="i1", now=lambda: noon)
    assert (done.outcome, done.output, done.summary) == ("ok", "b7 cancelled", "b7 cancelled")
    assert (done.run_id, done.step_id, done.attempt, done.number) == ("r1", "s1", 2, 1)
    assert (done.agent, done.instance) == ("a", "i1")
    booking, ctx = seen[0]
    assert booking == Booking(**BOOKED)
    assert (ctx.undoes, ctx.reason, ctx.attempt) == (True, "the hotel is full", 2)
    assert ctx.results == {"s1": BOOKED}
    assert ctx.deadline == noon + timedelta(seconds=60)


async def test_every_try_has_the_same_key_which_is_not_that_of_the_attempt():
    keys = []

    async def cancel(ctx: StepContext) -> None:
        keys.append((ctx.idempotency_key, ctx.attempt_key))

    await undo(cancel, number=1)
    await undo(cancel, number=2)
    assert keys == [("r1/s1/2/compensation", "r1/s1/2")] * 2


async def test_a_compensation_may_take_text_nothing_or_what_may_be_missing():
    said = []

    def text(note: str) -> None:
        said.append(note)

    def nothing() -> None:
        said.append("nothing")

    def maybe(booking: Booking | None = None) -> None:
        said.append(booking)

    await undo(text, input="n1")
    await undo(nothing)
    await undo(maybe, input=None)
    assert said == ["n1", "nothing", None]


async def test_a_result_that_does_not_fit_is_an_error_that_says_where():
    error = await failure(taking_a_booking, input={"id": 5})
    assert (error.code, error.retryable) == ("input_invalid", False)
    assert "id: Input should be a valid string" in error.message
    assert "price: Field required" in error.message


def taking_a_booking(booking: Booking) -> None: ...


async def test_what_a_step_returned_is_data_in_which_templates_mean_nothing():
    hostile = {"id": "{{steps.s9.output}}", "price": 1}
    result = DependencyResult(step_id="s1", agent="a", summary="", output=hostile)

    def cancel(booking: Booking) -> str:
        return booking.id

    done = await undo(cancel, input=hostile, context=[result])
    assert done.output == "{{steps.s9.output}}"


async def test_templates_in_an_input_of_its_own_stand_for_the_steps_result():
    done = await undo(echo, input={"booking": "{{steps.s1.output.id}}"})
    assert done.output == {"booking": "b7"}
    error = await failure(echo, input="{{steps.s9.output}}")
    assert (error.code, error.retryable) == ("template_unresolved", False)


def echo(given: object) -> object:
    return given


async def test_a_compensation_that_raises_says_whether_to_try_again():
    async def busy() -> None:
        raise TransientError("the airline is busy", code="busy", retry_after_s=7)

    async def never() -> None:
        raise StepFailed("it has taken off", code="airborne")

    async def bug() -> None:
        raise ValueError("oops")

    error = await failure(busy)
    assert (error.code, error.retryable, error.retry_after_s) == ("busy", True, 7)
    error = await failure(never)
    assert (error.code, error.retryable) == ("airborne", False)
    error = await failure(bug)
    assert (error.code, error.retryable) == ("unexpected", True)


async def test_a_compensation_that_hangs_is_stopped_at_its_limit_and_may_be_tried_again():
    async def hang() -> None:
        await asyncio.Event().wait()

    error = await failure(hang, timeouts=Timeouts(run_s=0.02))
    assert (error.code, error.retryable) == ("timeout", True)
    assert "the compensation took longer than its limit of 0.02 s" in error.message


async def test_what_a_compensation_returns_after_its_limit_is_dropped():
    go_on, ended = threading.Event(), threading.Event()

    def late() -> str:
        go_on.wait(30)
        ended.set()
        return "too late"

    error = await failure(late, timeouts=Timeouts(run_s=0.02))
    go_on.set()
    assert error.code == "timeout"
    assert await asyncio.to_thread(ended.wait, 30)


async def test_a_compensation_cancelled_from_outside_is_the_callers_to_judge():
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(undo(hang))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_compensation_that_returns_what_is_not_json_has_failed():
    error = await failure(lambda: object())  # noqa: PLW0108 - a function is what is registered
    assert error.code == "output_not_json"


async def test_an_agent_without_a_compensation_says_so_and_is_not_tried_again():
    error = await failure(agent_with())
    assert (error.code, error.retryable) == ("no_compensation", False)
    assert "no @agent.compensate" in error.message


# -- tools -----------------------------------------------------------------------------------------


def shop():
    agent = Agent("a", description="Sells things")

    @agent.tool
    def cancel(order: str, pieces: int) -> str:
        """Cancels an order."""
        return f"{pieces} of {order} taken back"

    return agent


async def test_a_named_tool_is_called_with_arguments_from_the_result_of_the_step():
    args = {"order": "{{steps.s1.output.id}}", "pieces": "3"}
    done = await undo(shop(), tool="cancel", args=args)
    assert done.output == "3 of b7 taken back"


async def test_an_unknown_tool_or_wrong_arguments_are_errors_that_say_what_there_is():
    error = await failure(shop(), tool="burn", args={})
    assert (error.code, error.retryable) == ("unknown_tool", False)
    assert "it has cancel" in error.message
    error = await failure(agent_with(), tool="burn")
    assert "it has none" in error.message
    error = await failure(shop(), tool="cancel", args={"pieces": "many", "why": 1})
    assert (error.code, error.retryable) == ("arguments_invalid", False)
    assert "'order' is missing" in error.message
    assert "there is no argument 'why'" in error.message


async def test_an_agent_with_tools_undoes_whole_steps_by_one_function():
    agent = shop()

    @agent.compensate
    def refund(order: str) -> str:
        return f"{order} refunded"

    args = {"order": "o1", "pieces": 1}
    assert (await recorded(agent, tool="cancel", args=args)).compensation == Compensation(agent="a")
    assert (await undo(agent, input="o1")).output == "o1 refunded"
