"""Agents that react to events: what goes wrong, and what is tried again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, Field
from support.reactions import Answered, Closed, Opened, agent, reacts

from starlings import (
    EventContext,
    LocalChoreography,
    StepFailed,
    TransientError,
)
from starlings.agents.execute import execute
from starlings.messages import ConfigError, EventOutcome, RetryPolicy, StepReady


async def failing(raised: Exception, **options: Any):
    a = agent()
    calls: list[int] = []

    @a.on(Opened, **options)
    def fail(event: Opened, ctx: EventContext) -> Answered:
        calls.append(ctx.attempt)
        raise raised

    chain = await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))
    [handled] = chain.handled
    assert handled.outcome is EventOutcome.ERROR
    assert handled.attempts == len(calls)
    assert calls == list(range(1, len(calls) + 1))
    return handled


async def test_an_error_that_may_pass_is_tried_a_bounded_number_of_times():
    assert (await failing(TransientError("away"))).attempts == 3
    assert (await failing(ValueError("a bug"), retry=RetryPolicy(attempts=2))).attempts == 2


async def test_an_error_for_good_is_not_tried_again():
    handled = await failing(StepFailed("sold out", code="sold_out"))
    assert (handled.attempts, handled.error.code) == (1, "sold_out")


async def test_a_reaction_that_works_at_the_second_try_emits_its_events_once():
    a = agent()

    @a.on(Opened)
    def second_time(event: Opened, ctx: EventContext) -> Answered:
        if ctx.attempt == 1:
            raise TransientError("away")
        return Answered(text="at last")

    chain = await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))
    assert chain.of(Answered) == [Answered(text="at last")]
    assert chain.handled[0].attempts == 2


async def test_pauses_grow_and_heed_what_the_error_asks_for():
    a = agent()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    @a.on(Opened, retry=RetryPolicy(attempts=4, initial_s=1, factor=3, max_s=5, jitter=0))
    def fail(event: Opened, ctx: EventContext) -> None:
        raise TransientError("away", retry_after_s=100 if ctx.attempt == 3 else None)

    local = LocalChoreography([a])
    local._sleep = sleep
    await local.emit(Opened(text="x"))
    assert pauses == [1, 3, 100]


async def test_a_reaction_that_takes_too_long_is_stopped():
    a = agent()

    @a.on(Opened, timeout_s=0.01, retry=RetryPolicy(attempts=1))
    async def hang(event: Opened) -> None:
        await asyncio.Event().wait()

    [handled] = (await LocalChoreography([a]).emit(Opened(text="x"))).handled
    assert handled.error.code == "timeout"
    assert "timeout_s of @agent.on" in handled.error.message


class Number(BaseModel):
    value: float = Field(default=0.0)


@pytest.mark.parametrize(
    ("returned", "code"),
    [
        (Closed(), "output_invalid"),
        ("text", "output_invalid"),
        ([Number()], "output_invalid"),
        (Number(value=float("nan")), "output_not_json"),
    ],
)
async def test_a_return_that_was_not_promised_or_is_not_json_is_an_error(returned, code):
    a = agent()

    @a.on(Opened)
    def wrong(event: Opened) -> Number:
        return returned

    [handled] = (await LocalChoreography([a], skip_waits=True).emit(Opened(text="x"))).handled
    assert handled.error.code == code


async def test_more_events_at_once_than_the_limit_are_an_error():
    a = agent()

    @a.on(Opened)
    def flood(event: Opened) -> list[Closed]:
        return [Closed()] * 1_001

    [handled] = (await LocalChoreography([a]).emit(Opened(text="x"))).handled
    assert handled.error.code == "too_many_events"


@pytest.mark.parametrize("payload", [{}, {"text": 5}, None, [], "x"])
async def test_an_event_of_the_wrong_shape_is_refused_without_a_call(payload):
    a = agent()
    a.on(Opened)(reacts)
    [handled] = (await LocalChoreography([a]).emit("ticket_opened", payload)).handled
    assert handled.error.code == "event_invalid"
    assert handled.attempts == 1


async def test_a_step_given_to_an_agent_that_only_reacts_fails_with_words_that_help():
    a = agent()
    a.on(Opened)(reacts)
    ready = StepReady(run_id="r", step_id="s", attempt=1, agent="a", task="do it")
    done = await execute(a, ready)
    assert (done.error.code, done.error.retryable) == ("takes_no_steps", False)
    assert "it only reacts to ticket_opened" in done.error.message


async def test_one_failing_listener_does_not_keep_the_others_from_reacting():
    a, b = agent("a"), agent("b")

    @a.on(Opened)
    def fail(event: Opened) -> None:
        raise StepFailed("no")

    b.on(Opened)(reacts)
    chain = await LocalChoreography([a, b]).emit(Opened(text="x"))
    assert [handled.agent for handled in chain.failed] == ["a"]
    assert chain.of(Answered) == [Answered(text="x")]


async def test_names_that_cannot_be_one_are_refused_when_an_event_is_emitted():
    local = LocalChoreography([agent()])
    with pytest.raises(ConfigError, match="correlation_id 'a b'"):
        await local.emit(Opened(text="x"), correlation_id="a b")
    with pytest.raises(ConfigError, match="is no event type"):
        await local.emit("Not A Type", {})
    with pytest.raises(StepFailed, match="not JSON"):
        await local.emit("x", float("nan"))
