"""Plans that come again: while their run is open, and after its end."""

from __future__ import annotations

import pytest
from support.forks import forked

from starlings.messages import (
    CancelRequested,
    PlanRejected,
    Problem,
    RunDone,
    RunOutcome,
    StepReady,
    StopRequested,
    message_id,
)

from .conftest import step, work_id

pytestmark = pytest.mark.kafka


async def test_a_plan_repeated_while_its_run_is_open_changes_nothing(stage):
    actor = await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b", "a"))
    await stage.work("r", "a")
    await stage.plan("r", step("a"), step("b", "a"))
    await stage.plan("r", step("other"))
    await stage.play("r", "a", "b")
    end = await stage.end("r")
    assert [s.step_id for s in end.steps] == ["a", "b"]
    assert stage.works("r") == [work_id("r", "a"), work_id("r", "b")]
    assert actor.coordinator.counters.runs_begun == 1


@pytest.mark.parametrize("restart", [False, True], ids=["same coordinator", "its successor"])
async def test_a_plan_repeated_after_the_end_is_answered_by_the_same_end(stage, restart):
    actor = await (await stage.start()).ready()
    await stage.plan("r", step("a"))
    await stage.play("r", "a")
    await stage.end("r")
    if restart:
        await actor.leave()
        actor = await (await stage.start()).ready()
    for repeats in (2, 3):
        await stage.plan("r", step("a"), step("b"))
        await stage.see(lambda n=repeats: len(stage.all(RunDone, "r")) == n, f"{repeats} ends")
    assert len({seen.record.value for seen in stage.all(RunDone, "r")}) == 1
    assert {seen.id for seen in stage.all(RunDone, "r")} == {message_id("r", "run_done")}
    assert len(stage.all(StepReady, "r")) == 1
    [partition] = actor.coordinator.partitions.values()
    await stage.see(lambda: not partition.ledger.repeated, "the end was read back")


async def test_a_rejected_plan_ends_the_run_with_all_its_problems(stage):
    await (await stage.start()).ready()
    problem = Problem(code="unknown_agent", message="no agent 'x'", remedy="start it")
    await stage.tell(PlanRejected(run_id="r", problems=[problem]))
    end = await stage.end("r")
    assert (end.outcome, end.problems) == (RunOutcome.REJECTED, [problem])


async def test_a_cancel_tells_running_steps_to_stop_and_ends_the_run(stage):
    await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b", "a"))
    await stage.work("r", "a")
    await stage.tell(CancelRequested(run_id="r", reason="enough", requested_by="Ann"), "r/cancel/1")
    [stop] = await stage.see(lambda: stage.all(StopRequested, "r"), "a word on control")
    assert stop.record.topic == stage.topics.control
    assert (stop.message.reason, stop.headers["ce_causationid"]) == ("cancelled", b"r/cancel/1")
    await stage.done("r", "a", "just in time")
    end = await stage.end("r")
    assert (end.outcome, end.error.message) == (RunOutcome.CANCELLED, "cancelled by Ann: enough")
    assert [s.state for s in end.steps] == ["done", "cancelled"]


async def test_a_cancelled_run_does_not_wait_for_an_agent_that_never_answers(stage, monkeypatch):
    monkeypatch.setattr("starlings.choreography.turning.UNDO_GRACE_MS", 300)
    await (await stage.start()).ready()
    await stage.plan("r", step("a"))
    await stage.work("r", "a")
    await stage.tell(CancelRequested(run_id="r"), "r/cancel/1")
    end = await stage.end("r")
    assert (end.outcome, end.steps[0].state) == (RunOutcome.CANCELLED, "cancelled")


async def test_a_cancel_before_its_plan_lets_nothing_start(stage):
    await (await stage.start()).ready()
    await stage.tell(CancelRequested(run_id="r"), "r/cancel/1")
    await stage.plan("r", step("a"))
    assert (await stage.end("r")).outcome is RunOutcome.CANCELLED
    assert not stage.works("r")


async def test_facts_from_kcat_need_no_headers(stage):
    await (await stage.start()).ready()
    plan = b'{"steps": [{"agent": "math", "task": "t"}]}'
    await stage.tell_raw(b'{"type": "plan_created", "run_id": "r", "plan": ' + plan + b"}")
    await stage.work("r", "s1")
    await stage.tell_raw(b'{"type": "cancel_requested", "run_id": "r"}\n')
    await stage.see(lambda: stage.all(StopRequested, "r"), "a word on control")
    await stage.done("r", "s1")
    assert (await stage.end("r")).outcome is RunOutcome.CANCELLED


async def test_facts_of_unknown_type_are_passed_over(stage):
    actor = await (await stage.start()).ready()
    await stage.tell_raw(b"\x00 whatever", headers=[("ce_type", b"starlings.unheard_of.v1")])
    await stage.tell_raw(b'{"type": "unheard_of", "run_id": "r"}')
    await stage.tell_raw(b"{}", headers=[("ce_type", b"starlings.step_done.v9")])
    await stage.plan("r", step("a"))
    await stage.play("r", "a")
    await stage.end("r")
    assert actor.coordinator.counters.undecodable == 0
    assert not stage.on(stage.topics.dead_letters)


@pytest.mark.parametrize("crash", [False, True], ids=["one coordinator", "a crash in between"])
async def test_a_fork_goes_on_from_what_it_has_inherited_and_is_repeated_without_effect(
    stage, crash
):
    actor = await (await stage.start()).ready()
    fork = forked(step("a"), step("b", "a"), step("c", "b"), inherited={"a": "from there"})
    await stage.tell(fork)
    await stage.play("r", "b")
    if crash:
        await actor.crash()
        await (await stage.start()).ready()
    await stage.tell(fork)
    await stage.play("r", "c")
    end = await stage.end("r")
    assert [(s.step_id, s.attempts, s.inherited) for s in end.steps] == [
        ("a", 0, True),
        ("b", 1, False),
        ("c", 1, False),
    ]
    assert set(stage.works("r")) == {work_id("r", "b"), work_id("r", "c")}
    first = next(seen.message for seen in stage.all(StepReady, "r"))
    assert first.context[0].output == "from there"
    await stage.tell(fork)
    await stage.see(lambda: len(stage.all(RunDone, "r")) == 2, "the end is said again")


async def test_a_fork_whose_steps_have_no_agent_fails_by_its_policy(stage):
    await (await stage.start()).ready()
    await stage.tell(forked(step("a"), step("b", "a", agent="nobody"), inherited={"a": 1}))
    end = await stage.end("r")
    assert end.error.code == "unknown_agent"
    assert end.outcome is RunOutcome.FAILED
