"""The saga: results that come too late to count are undone as well."""

from __future__ import annotations

import pytest
from support.runs import cancelled, failed, ok, started, step
from support.sagas import UNDO, Saga, did, message_of, undone

from starlings.choreography import DecisionKind, Ignored, RunPhase
from starlings.messages import RetryPolicy, RunOutcome, Timeouts, TimerKind

ONCE = RetryPolicy(attempts=1)


def test_a_result_of_an_attempt_that_was_given_up_is_undone_while_the_run_goes_on():
    saga = Saga(step("a", timeouts=Timeouts(run_s=1)), retry=RetryPolicy(initial_s=0))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    assert saga.tell(did("a", "late")) != Ignored("stale attempt")
    ready = message_of(saga, DecisionKind.UNDO)
    assert (ready.attempt, ready.input) == (1, "late")
    assert ready.reason == "its result came too late to count"
    saga.tell(did("a", "second", attempt=2))
    assert saga.run.phase is RunPhase.RUNNING, "its end waits for the undoing"
    saga.tell(undone("a"))
    assert (saga.end.outcome, saga.end.output) == (RunOutcome.COMPLETED, "second")


def test_a_result_comes_too_late_to_be_undone_when_the_end_is_decided():
    saga = Saga("a", "b")
    saga.tell(failed("b"))
    saga.fire(TimerKind.SETTLE)
    assert saga.end.outcome is RunOutcome.FAILED
    assert saga.tell(did("a")) == Ignored("the run is ending")


def test_a_result_after_the_grace_is_undone_while_others_still_are():
    saga = Saga("a", "b", "c")
    saga.tell(did("a"), failed("b"))
    saga.fire(TimerKind.SETTLE)
    assert saga.undos() == ["a/1/1"]
    saga.tell(did("c", "late"))
    assert saga.undos() == ["a/1/1", "c/1/1"]


def test_a_late_result_waits_for_the_steps_after_it_that_are_not_undone_yet():
    saga = Saga("a", "b<a", "c", retry=RetryPolicy(initial_s=0), timeouts=Timeouts(run_s=1))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(did("a", "second", attempt=2), did("b"), failed("c"))
    assert saga.undos() == ["b/1/1"]
    saga.tell(did("a", "first"))
    assert saga.undo_phases() == {"a/2": "waiting", "b/1": "released", "a/1": "waiting"}
    saga.tell(undone("b"))
    assert saga.undos() == ["a/1/1", "a/2/1"]
    saga.tell(undone("a"))
    assert saga.run.phase is RunPhase.COMPENSATING
    saga.tell(undone("a", attempt=2))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_a_late_result_of_a_step_that_stands_free_is_undone_at_once():
    saga = Saga("a", "b", retry=RetryPolicy(initial_s=0), timeouts=Timeouts(run_s=1))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(failed("b"))
    saga.tell(did("a", "first"))
    assert saga.undo_phases() == {"a/1": "waiting"}, "its second attempt is out"
    saga.tell(cancelled("a", 2))
    assert saga.undos() == ["a/1/1"]


def test_a_late_result_tells_a_waiting_undoing_what_is_to_be_undone():
    saga = Saga(step("a", compensate=UNDO), "b", "c<b", max_parallel=None)
    saga.tell(started("a"), failed("b"))
    saga.fire(TimerKind.SETTLE)
    assert saga.undos() == ["a/1/1"]
    assert saga.tell(did("a", "late")) == Ignored("the step is cancelled"), "it is under way"


def test_a_waiting_undoing_of_a_lost_attempt_learns_its_output():
    lost = step("a", compensate=UNDO, timeouts=Timeouts(run_s=1), retry=ONCE, on_failure="continue")
    saga = Saga(lost, "b<a", "c")
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.tell(started("b"), failed("c"))
    assert saga.undo_phases() == {"a/1": "waiting"}
    saga.tell(did("a", "late"))
    saga.tell(cancelled("b"))
    assert message_of(saga, DecisionKind.UNDO).input == "late"


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (did("a"), "the step is done"),
        (did("a", attempt=2), "attempt not made yet"),
        (ok("a", attempt=0), "stale attempt"),
        (did("z"), "the plan has no such step"),
        (did("a", attempt=0), "stale attempt"),
        (did("a", attempt=-1), "stale attempt"),
        (failed("a"), "the step is done"),
    ],
)
def test_what_is_no_late_result_undoes_nothing(fact, reason):
    saga = Saga("a", "b<a")
    saga.tell(did("a"))
    assert saga.tell(fact) == Ignored(reason)


def test_a_late_result_is_kept_where_the_run_undoes_nothing():
    saga = Saga("a", timeouts=Timeouts(run_s=1), on_failure="stop")
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    assert saga.tell(did("a")) == Ignored("the step is backoff")
