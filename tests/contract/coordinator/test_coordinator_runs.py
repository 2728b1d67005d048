"""A run's way through the coordinator: what it publishes, where, and with which headers."""

from __future__ import annotations

import pytest

from starlings.messages import (
    ErrorInfo,
    RunOutcome,
    StepDone,
    StepScheduled,
    attempt_id,
    message_id,
    run_key,
    step_key,
)

from .conftest import TRACE, step, work_id

pytestmark = pytest.mark.kafka


async def test_steps_are_announced_as_their_dependencies_settle_and_the_run_ends(stage):
    actor = await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b"), step("c", "a", "b"))
    first = await stage.work("r", "a")
    assert (first.record.topic, first.record.key) == (
        stage.topics.steps("math"),
        step_key("r", "a"),
    )
    assert first.message.context == []
    await stage.done("r", "a", 5)
    await stage.done("r", "b", {"words": 2})
    joined = await stage.work("r", "c")
    given = [(d.step_id, d.output, d.summary) for d in joined.message.context]
    assert given == [("a", 5, "5"), ("b", {"words": 2}, '{"words": 2}')]
    await stage.done("r", "c", 10)
    end = await stage.end("r")
    assert (end.outcome, end.output) == (RunOutcome.COMPLETED, 10)
    assert [s.step_id for s in end.steps] == ["a", "b", "c"]
    assert stage.works("r") == [work_id("r", s) for s in "abc"]
    assert (actor.coordinator.counters.runs_begun, actor.coordinator.counters.parked) == (1, 0)


async def test_every_message_tells_its_cause_and_its_trace(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b", "a"))
    first = (await stage.work("r", "a")).headers
    assert first["ce_causationid"] == message_id("r", "plan_created").encode()
    assert first["ce_id"] == work_id("r", "a").encode()
    assert first["ce_subject"] == b"r"
    assert first["ce_source"] == b"coordinator"
    await stage.done("r", "a")
    second = (await stage.work("r", "b")).headers
    assert second["ce_causationid"] == attempt_id("r", "a", 1, StepDone.NAME).encode()
    assert first["traceparent"] == second["traceparent"] == TRACE.encode()
    confirmed = await stage.see(lambda: stage.all(StepScheduled, "r"), "a confirmation")
    assert confirmed[-1].headers["ce_causationid"] == work_id("r", "b").encode()
    assert confirmed[-1].record.key == run_key("r")


async def test_a_step_that_ends_at_once_confirms_its_own_release(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a"))
    await stage.play("r", "a")
    await stage.end("r")
    assert not stage.all(StepScheduled, "r")


async def test_a_failing_step_stops_the_run_and_says_so(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b", "a"))
    await stage.work("r", "a")
    await stage.done("r", "a", error=ErrorInfo(code="broken", message="it broke"))
    end = await stage.end("r")
    assert end.outcome is RunOutcome.FAILED
    assert end.error.message == "step 'a' failed: it broke"
    assert [s.state for s in end.steps] == ["failed", "cancelled"]
