"""Timers go through the log: they fire once, lead to decisions, and survive a restart."""

from __future__ import annotations

import pytest

from starlings.messages import (
    Compensation,
    CompensationDone,
    CompensationReady,
    ErrorInfo,
    RetryPolicy,
    RunOutcome,
    StepOutcome,
    StepProgress,
    StopRequested,
    Timeouts,
    TimerFired,
    TimerKind,
)

from .conftest import TRACE, step

pytestmark = pytest.mark.kafka

BROKEN = ErrorInfo(code="broken", message="it broke", retryable=True)
ONCE = RetryPolicy(attempts=1)


def quick(attempts=2):
    return RetryPolicy(attempts=attempts, initial_s=0.3, factor=1)


async def test_a_failed_attempt_is_tried_again_after_its_pause(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a", retry=quick()))
    await stage.work("r", "a")
    await stage.done("r", "a", error=BROKEN)
    again = await stage.work("r", "a", attempt=2)
    [fired] = stage.all(TimerFired, "r")
    assert fired.message.kind is TimerKind.RETRY
    assert fired.record.timestamp >= fired.message.due_ms
    assert again.headers["ce_causationid"] == fired.id.encode()
    assert again.headers["traceparent"] == TRACE.encode()
    await stage.done("r", "a", "second", attempt=2)
    end = await stage.end("r")
    assert (end.output, end.steps[0].attempts) == ("second", 2)


async def test_a_retry_survives_the_coordinator_that_armed_it(stage):
    first = await (await stage.start()).ready()
    await stage.plan("r", step("a", retry=RetryPolicy(attempts=2, initial_s=1.0)))
    await stage.work("r", "a")
    told = await stage.done("r", "a", error=BROKEN)
    [partition] = first.coordinator.partitions.values()
    await stage.see(lambda: partition.position > told, "the failure was read")
    await first.crash()
    assert not stage.all(TimerFired, "r")
    await (await stage.start()).ready()
    await stage.work("r", "a", attempt=2)
    assert len(stage.all(TimerFired, "r")) == 1


@pytest.mark.parametrize("limit", ["queue", "run", "heartbeat"])
async def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again(stage, limit):
    await (await stage.start()).ready()
    limits = Timeouts(**{f"{limit}_s": 0.4})
    await stage.plan("r", step("a", timeouts=limits, retry=quick()))
    await stage.work("r", "a")
    if limit != "queue":
        await stage.started("r", "a")
    await stage.work("r", "a", attempt=2)
    fired = stage.all(TimerFired, "r")
    assert [seen.message.kind.value for seen in fired] == [limit, "retry"]
    [stop] = await stage.see(lambda: stage.all(StopRequested, "r"), "a word on control")
    assert stop.message.attempts == {"a": 1}
    await stage.done("r", "a", "late", attempt=1)
    await stage.done("r", "a", "second", attempt=2)
    assert (await stage.end("r")).output == "second"


async def test_signs_of_life_put_the_heartbeat_timeout_off(stage):
    await (await stage.start()).ready()
    limits = Timeouts(heartbeat_s=1.5)
    await stage.plan("r", step("a", timeouts=limits, retry=ONCE))
    await stage.work("r", "a")
    await stage.started("r", "a")
    alive = StepProgress(run_id="r", step_id="a", attempt=1, agent="math")
    for number in range(3):
        last = await stage.tell(alive, f"r/a/1/step_progress/{number}")
    end = await stage.end("r")
    assert end.error.message.endswith("within 1.5 s (timeouts.heartbeat_s)")
    times = {seen.record.offset: seen.record.timestamp for seen in stage.on(stage.topics.events)}
    # On a slow machine the first limit may have passed before the signs were told: read, and void.
    *_, fired = stage.all(TimerFired, "r")
    assert fired.message.due_ms == times[last] + 1_500


@pytest.mark.parametrize("restart", [False, True], ids=["same coordinator", "its successor"])
async def test_a_run_that_takes_too_long_ends_at_its_deadline(stage, monkeypatch, restart):
    monkeypatch.setattr("starlings.choreography.turning.UNDO_GRACE_MS", 200)
    actor = await (await stage.start()).ready()
    await stage.plan("r", step("a"), timeout_s=1.0)
    await stage.work("r", "a")
    if restart:
        await actor.crash()
        await (await stage.start()).ready()
    end = await stage.end("r")
    assert (end.outcome, end.error.code) == (RunOutcome.FAILED, "deadline_exceeded")
    kinds = [seen.message.kind for seen in stage.all(TimerFired, "r")]
    assert kinds == [TimerKind.DEADLINE, TimerKind.SETTLE]


def undone_by(attempts):
    limit = Timeouts(run_s=0.3)
    return Compensation(agent="math", retry=quick(attempts), timeouts=limit)


async def test_a_compensation_that_nobody_answers_is_abandoned_and_lies_in_the_dead_letters(stage):
    await (await stage.start()).ready()
    silent = step("a", compensate=undone_by(2))
    await stage.plan("r", silent, step("b", "a", retry=ONCE), undo_queue_s=0.3)
    await stage.play("r", "a")
    await stage.work("r", "b")
    await stage.done("r", "b", error=BROKEN)
    end = await stage.end("r")
    assert end.outcome is RunOutcome.COMPENSATION_FAILED
    [undo] = end.steps[0].undone
    assert (undo.state, undo.tries, undo.error.code) == ("failed", 2, "undo_timeout")
    [letter] = await stage.dead()
    assert letter.headers["starlings_error_code"] == b"undo_timeout"


async def test_a_compensation_that_succeeds_after_its_time_is_none_that_failed(stage):
    await (await stage.start()).ready()
    slow = step("a", compensate=undone_by(50))
    await stage.plan("r", slow, step("b", "a", retry=ONCE), undo_queue_s=0.3)
    await stage.play("r", "a")
    await stage.work("r", "b")
    await stage.done("r", "b", error=BROKEN)

    def tries():
        return [seen.message.number for seen in stage.all(CompensationReady, "r")]

    await stage.see(lambda: 2 in tries(), "the second try")
    first = CompensationDone(
        run_id="r", step_id="a", attempt=1, number=1, agent="math", outcome=StepOutcome.OK
    )
    await stage.tell(first, "r/a/1/compensation_done/1")
    end = await stage.end("r")
    assert end.outcome is RunOutcome.COMPENSATED
    assert end.steps[0].undone[0].state == "undone"
