"""Cancels, deadlines, rejected plans, and the grace of attempts that are with agents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from support.runs import BEGIN_MS, CANCEL, Story, cancelled, failed, ok, started, step

from starlings.choreography import (
    Change,
    DecisionKind,
    Ignored,
    RunPhase,
    begin,
    confirmation_for,
    message_for,
    record_end,
)
from starlings.messages import (
    CancelRequested,
    Plan,
    PlanCreated,
    PlanRejected,
    Problem,
    RunOptions,
    RunOutcome,
    StopAnnounced,
    StopRequested,
    TimerKind,
)


def test_a_cancel_stops_waiting_ready_and_backing_off_steps_at_once():
    story = Story("a", "b", "c", "d<a", max_parallel=2)
    story.tell(failed("a", retryable=True))
    assert story.phases() == {"a": "backoff", "b": "released", "c": "released", "d": "waiting"}
    story.tell(CANCEL)
    assert story.phases() == {
        "a": "cancelled",
        "b": "released",
        "c": "released",
        "d": "cancelled",
    }
    assert story.owed(DecisionKind.RELEASE) == []
    assert story.timers() == {"settle": 10}


def test_a_cancel_tells_agents_to_stop_and_the_run_ends_when_they_have():
    story = Story("a", "b")
    story.tell(started("a"))
    change = story.tell(CANCEL)
    (stop,) = change.decisions
    assert message_for(story.run, stop) == StopRequested(run_id="r", reason="cancelled")
    story.tell(cancelled("a"))
    assert story.run.phase is RunPhase.STOPPING
    story.tell(ok("b", "just in time"))
    end = story.end
    assert (end.outcome, [s.state for s in end.steps]) == (
        RunOutcome.CANCELLED,
        ["cancelled", "done"],
    )
    assert end.error is not None
    assert end.error.message == "cancelled by Ann: enough"


def test_a_stop_is_confirmed_by_its_announcement():
    story = Story("a")
    story.tell(CANCEL)
    (stop,) = story.owed(DecisionKind.STOP)
    confirmation = confirmation_for(story.run, stop)
    assert confirmation is not None
    assert confirmation.id == "r/stop_requested/announced"
    assert confirmation.message == StopAnnounced(run_id="r", stop_id="r/stop_requested")
    story.tell(confirmation.message)
    assert story.owed(DecisionKind.STOP) == []


def test_attempts_that_do_not_settle_within_the_grace_are_given_up():
    story = Story("a", "b", "c")
    story.tell(started("a"), ok("b"), CANCEL)
    assert story.timers() == {"settle": 10}
    change = story.fire(TimerKind.SETTLE)
    assert [d.id for d in change.decisions] == ["r/run_done"]
    assert story.phases() == {"a": "cancelled", "b": "done", "c": "cancelled"}
    assert story.end.outcome is RunOutcome.CANCELLED
    assert story.tell(ok("a")) == Ignored("the run is ending")


def test_a_cancel_where_nothing_is_out_ends_the_run_at_once():
    story = Story("a")
    story.tell(failed("a", retryable=True), CancelRequested(run_id="r"))
    assert story.end.error is not None
    assert (story.end.outcome, story.end.error.message) == (RunOutcome.CANCELLED, "cancelled")


def test_a_second_cancel_is_ignored_in_every_later_phase():
    story = Story("a")
    story.tell(CANCEL)
    assert story.tell(CANCEL) == Ignored("the run is stopping")
    story.tell(cancelled("a"))
    assert story.tell(CANCEL) == Ignored("the run is ending")
    story.tell(story.end)
    assert story.tell(CANCEL) == Ignored("the run has ended")


def test_a_cancel_before_the_plan_releases_nothing_and_ends_the_run_at_once():
    story = Story("a", "b<a", cancel=CANCEL, timeout_s=5)
    assert [d.id for d in story.change.decisions] == ["r/run_done"]
    assert (story.timers(), story.end.outcome) == ({}, RunOutcome.CANCELLED)
    assert story.phases() == {"a": "cancelled", "b": "cancelled"}


def test_the_whole_runs_timeout_stops_it_as_failed():
    story = Story("a", "b<a", timeout_s=30)
    story.tell(started("a"))
    change = story.fire(TimerKind.DEADLINE)
    assert [d.because for d in change.decisions] == ["failed"]
    story.tell(cancelled("a"))
    end = story.end
    assert end.error is not None
    assert (end.outcome, end.error.code) == (RunOutcome.FAILED, "deadline_exceeded")


@pytest.mark.parametrize(
    ("seconds", "timeout_s", "due_s"),
    [(20, None, 20), (20, 50, 20), (50, 20, 20), (-5, None, 0), (-5, 7, 0)],
)
def test_deadline_and_timeout_whichever_is_sooner(seconds, timeout_s, due_s):
    begin_at = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
    deadline = (begin_at + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=9)))
    story = Story("a", deadline=deadline, timeout_s=timeout_s)
    assert story.timers() == {"deadline": due_s}


def test_a_run_without_limits_has_no_deadline():
    assert Story("a").timers() == {}


def test_a_rejected_plan_is_a_run_that_ends_with_every_problem():
    problems = [
        Problem(code="cannot", message="no", remedy="ask otherwise"),
        Problem(code="worse", message="really no", remedy="give up"),
    ]
    fact = PlanRejected(run_id="r", request="x", problems=problems, tags={"a": "b"})
    run, change = begin(fact, offset=1, at_ms=BEGIN_MS)
    (decision,) = change.decisions
    end = message_for(run, decision)
    assert (end.outcome, end.problems, end.steps) == (RunOutcome.REJECTED, problems, [])
    assert end.error.message == "no (ask otherwise) (and 1 more)"
    assert (end.output, end.usage, run.tags) == (None, None, {"a": "b"})


def test_a_rejection_without_a_reason_gets_one():
    run, _ = begin(PlanRejected(run_id="r", problems=[]), offset=1, at_ms=BEGIN_MS)
    assert run.error is not None
    assert run.error.message == "no plan could be made"


def test_an_invalid_plan_of_a_foreign_producer_is_rejected_not_run():
    plan = Plan(steps=[step("a", "b"), step("b", "a")])
    run, change = begin(PlanCreated(run_id="r", plan=plan), offset=1, at_ms=BEGIN_MS)
    assert [d.id for d in change.decisions] == ["r/run_done"]
    assert (run.outcome, [p.code for p in run.problems]) == (RunOutcome.REJECTED, ["cycle"])


def test_bad_parallelism_of_a_foreign_producer_is_rejected_too():
    plan = Plan(steps=[step("a")])
    options = RunOptions(max_parallel=0)
    run, _ = begin(PlanCreated(run_id="r", plan=plan, options=options), offset=1, at_ms=BEGIN_MS)
    assert [p.code for p in run.problems] == ["bad_parallelism"]


def test_a_cancel_does_not_undo_a_rejection():
    run, _ = begin(PlanRejected(run_id="r", problems=[]), offset=1, at_ms=BEGIN_MS, cancel=CANCEL)
    assert run.outcome is RunOutcome.REJECTED


def test_the_end_is_recorded_once():
    story = Story("a")
    assert record_end(story.run) == Change()
    assert record_end(story.run) == Ignored("the run has ended")
