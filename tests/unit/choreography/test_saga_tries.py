"""The saga: each undoing is tried again, abandoned at last, and succeeds however late."""

from __future__ import annotations

import pytest
from support.runs import CANCEL, cancelled, failed, ok, started, step
from support.sagas import UNDO, Saga, did, message_of, not_undone, undone

from starlings.choreography import (
    Change,
    DecisionKind,
    Ignored,
    RunPhase,
    confirm,
    confirmation_for,
    message_for,
)
from starlings.messages import (
    Compensation,
    CompensationAbandoned,
    CompensationReady,
    CompensationScheduled,
    RetryPolicy,
    RunOutcome,
    RunRequested,
    Timeouts,
    TimerKind,
)


def test_an_undoing_is_tried_again_with_a_growing_pause():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"))
    saga.tell(not_undone("a", retryable=True), at_s=0)
    assert 1 <= saga.timers()["undo_retry a"] <= 1.1
    change = saga.fire(TimerKind.UNDO_RETRY, "a")
    assert [d.id for d in change.decisions] == ["r/a/1/compensation_ready/2"]
    assert saga.tell(not_undone("a", 1)) == Ignored("stale try")
    assert saga.tell(undone("a", 3)) == Ignored("try not made yet")
    assert saga.tell(undone("a", 0)) == Ignored("no such try")
    saga.tell(undone("a", 2))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_an_agent_that_says_nothing_of_why_it_failed_is_asked_again():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"), not_undone("a", error=None))
    assert saga.undo_phases() == {"a/1": "backoff"}
    assert saga.run.undos["a", 1].error.message == "the agent reported error"


def test_an_undoing_that_fails_for_good_lies_in_the_dead_letters_before_the_run_ends():
    saga = Saga("a", "b<a", "c<a", "d<b,c")
    saga.tell(did("a"), did("b"), did("c"), failed("d"))
    saga.tell(not_undone("b"), undone("c"))
    assert saga.undo_phases() == {"a/1": "waiting", "b/1": "failed", "c/1": "undone"}
    (burial,) = saga.owed(DecisionKind.BURY)
    assert burial.id == "r/b/1/dead_letter/1"
    assert isinstance(message_for(saga.run, burial), CompensationReady)
    assert saga.run.phase is RunPhase.COMPENSATING
    confirmation = confirmation_for(saga.run, burial)
    assert confirmation is not None
    assert confirmation.id == "r/b/1/compensation_abandoned/1"
    assert isinstance(confirmation.message, CompensationAbandoned)
    assert confirmation.message.error.message == "b sticks"
    change = saga.tell(confirmation.message)
    assert [d.id for d in change.decisions] == ["r/run_done"]
    end = saga.end
    assert end.outcome is RunOutcome.COMPENSATION_FAILED
    assert [u.state for s in end.steps for u in s.undone] == ["waiting", "failed", "undone"]


def test_a_burial_is_confirmed_by_its_id_alone_too():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"), not_undone("a"))
    change = confirm(saga.run, "r/a/1/dead_letter/1", at_ms=5)
    assert isinstance(change, Change)
    assert [d.kind for d in change.decisions] == [DecisionKind.END]


def test_a_cancelled_run_that_could_not_be_undone_says_so():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), CANCEL, cancelled("b"), not_undone("a"))
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    assert saga.end.outcome is RunOutcome.COMPENSATION_FAILED


def test_an_undoing_that_is_never_answered_is_stopped_and_tried_again_where_it_has_a_limit():
    limited = Compensation(agent="math", timeouts=Timeouts(queue_s=3, run_s=2))
    saga = Saga(step("a", compensate=limited), "b<a")
    saga.tell(ok("a"), failed("b"))
    assert saga.timers() == {"undo_run a": 5}
    saga.fire(TimerKind.UNDO_RUN, "a")
    stop = message_of(saga, DecisionKind.STOP)
    assert (stop.attempts, stop.compensation, stop.undoing) == ({"a": 1}, True, 1)
    assert saga.undos() == []
    assert saga.undo_phases() == {"a/1": "backoff"}
    saga.fire(TimerKind.UNDO_RETRY, "a")
    assert saga.undos() == ["a/1/2"]


def test_a_limit_of_waiting_alone_counts_no_working_time():
    limited = Compensation(agent="math", timeouts=Timeouts(queue_s=3, run_s=None))
    saga = Saga(step("a", compensate=limited), "b<a")
    saga.tell(ok("a"), failed("b"))
    assert saga.timers() == {"undo_run a": 3}
    saga.tell(undone("a"))
    assert saga.timers() == {}


def test_an_undoing_without_a_limit_of_its_own_has_that_of_its_run_and_is_abandoned_at_last():
    saga = Saga("a", "b<a", undo_queue_s=60)
    saga.tell(did("a"), failed("b"))
    assert saga.timers() == {"undo_run a": 60 + 600}
    for number in range(1, 11):
        assert saga.undos() == [f"a/1/{number}"]
        assert list(saga.timers()) == ["undo_run a"]
        saga.fire(TimerKind.UNDO_RUN, "a")
        if number < 10:
            saga.fire(TimerKind.UNDO_RETRY, "a")
    assert saga.undo_phases() == {"a/1": "failed"}
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    assert saga.end.outcome is RunOutcome.COMPENSATION_FAILED
    (step,) = [s for s in saga.end.steps if s.undone]
    assert step.undone[0].error.code == "undo_timeout"


@pytest.mark.parametrize(
    ("own", "limit"),
    [
        (Timeouts(queue_s=3, run_s=2), {"undo_run a": 5}),
        (Timeouts(run_s=2), {"undo_run a": 62}),
        (Timeouts(run_s=None), {}),
    ],
)
def test_the_limits_of_a_compensation_go_before_that_of_its_run(own, limit):
    saga = Saga(
        step("a", compensate=UNDO.model_copy(update={"timeouts": own})), "b<a", undo_queue_s=60
    )
    saga.tell(ok("a"), failed("b"))
    assert saga.timers() == limit


def test_a_run_that_was_planned_without_such_a_limit_waits_as_it_did():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"))
    assert saga.timers() == {}


def test_a_request_that_says_nothing_gives_compensations_an_hour():
    assert RunRequested(request="x").options().undo_queue_s == 3_600
    assert RunRequested(request="x", undo_queue_s=5).options().undo_queue_s == 5


def test_a_release_is_confirmed_by_its_announcement_and_by_its_end():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"))
    confirmation = confirmation_for(saga.run, saga.owed(DecisionKind.UNDO)[0])
    assert confirmation is not None
    assert isinstance(confirmation.message, CompensationScheduled)
    saga.tell(confirmation.message)
    assert saga.undos() == []
    assert saga.tell(confirmation.message) == Ignored("nothing of that id is owed")


def test_ends_of_undoings_that_are_not_asked_for_are_ignored():
    saga = Saga("a", "b<a")
    assert saga.tell(undone("a")) == Ignored("nothing of that attempt is to be undone")
    saga.tell(did("a"), failed("b"), undone("a"))
    assert saga.tell(undone("a")) == Ignored("the undoing is undone")


def test_a_pause_between_tries_survives_the_turn_of_a_run():
    saga = Saga("a", "b", retry=RetryPolicy(initial_s=0), timeouts=Timeouts(run_s=1))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(did("a"), not_undone("a", retryable=True))
    assert "undo_retry a" in saga.timers()
    saga.tell(failed("b"))
    assert "undo_retry a" in saga.timers()


# -- a success that comes late ---------------------------------------------------------------------

LIMITED = Compensation(agent="math", timeouts=Timeouts(queue_s=3, run_s=2))


def timed_out_saga(**options):
    saga = Saga("z", step("a", "z", compensate=LIMITED), "b<a", **options)
    saga.tell(did("z"), ok("a"), failed("b"))
    saga.fire(TimerKind.UNDO_RUN, "a")
    return saga


def test_a_success_after_its_try_was_given_up_counts_and_ends_the_pause():
    saga = timed_out_saga()
    saga.tell(undone("a"))
    assert saga.undo_phases() == {"a/1": "undone", "z/1": "released"}
    assert saga.timers() == {}
    saga.tell(undone("z"))
    end = saga.end
    assert end.outcome is RunOutcome.COMPENSATED
    assert [u.error for s in end.steps for u in s.undone] == [None, None]


def test_a_success_of_an_earlier_try_counts_and_stops_the_one_that_is_under_way():
    saga = timed_out_saga()
    saga.fire(TimerKind.UNDO_RETRY, "a")
    assert saga.undos() == ["a/1/2"]
    change = saga.tell(undone("a", 1))
    assert [d.id for d in change.decisions] == [
        "r/a/1/stop_requested/2",
        "r/z/1/compensation_ready/1",
    ]
    assert saga.undos() == ["z/1/1"]
    assert saga.timers() == {}
    assert saga.tell(not_undone("a", 2)) == Ignored("the undoing is undone")
    assert saga.tell(undone("a", 2)) == Ignored("the undoing is undone")


def test_a_success_of_an_earlier_try_counts_while_the_next_one_waits_for_a_place():
    saga = Saga("x", step("y", compensate=LIMITED), "b<x,y", max_parallel=1)
    saga.tell(did("x"), ok("y"), failed("b"))
    saga.fire(TimerKind.UNDO_RUN, "y")
    assert saga.undos() == ["x/1/1"]
    saga.fire(TimerKind.UNDO_RETRY, "y")
    assert saga.undo_phases() == {"x/1": "released", "y/1": "ready"}
    saga.tell(undone("y"))
    assert saga.undo_phases() == {"x/1": "released", "y/1": "undone"}
    saga.tell(undone("x"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_a_success_after_the_step_was_abandoned_counts_while_the_run_goes_on():
    once = LIMITED.model_copy(update={"retry": RetryPolicy(attempts=1)})
    saga = Saga("z", step("a", "z", compensate=once), "b<a")
    saga.tell(did("z"), ok("a"), failed("b"))
    saga.fire(TimerKind.UNDO_RUN, "a")
    burial = saga.owed(DecisionKind.BURY)[0]
    before = confirmation_for(saga.run, burial)
    saga.tell(undone("a"))
    assert saga.undo_phases() == {"a/1": "undone", "z/1": "released"}
    assert confirmation_for(saga.run, burial) == before, "its letter says what it said"
    saga.tell(undone("z"))
    assert saga.run.phase is RunPhase.COMPENSATING, "its letter is not in its place yet"
    saga.tell(before.message)
    end = saga.end
    assert end.outcome is RunOutcome.COMPENSATED
    assert [u.error for s in end.steps for u in s.undone] == [None, None]


def test_a_success_comes_too_late_when_the_end_is_decided():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"), not_undone("a"))
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    assert saga.end.outcome is RunOutcome.COMPENSATION_FAILED
    assert saga.tell(undone("a")) == Ignored("the run is ending")
    assert saga.end.outcome is RunOutcome.COMPENSATION_FAILED


def test_a_success_while_the_run_goes_on_all_the_same_clears_no_step():
    saga = Saga("a", retry=RetryPolicy(initial_s=0), timeouts=Timeouts(run_s=1))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(did("a"), not_undone("a", retryable=True), undone("a"))
    assert saga.undo_phases() == {"a/1": "undone"}
    saga.tell(ok("a", attempt=2))
    assert saga.end.outcome is RunOutcome.COMPLETED


def test_no_number_of_a_try_that_was_not_made_counts():
    saga = Saga("a", "b<a", "c<b")
    saga.tell(did("a"), did("b"), failed("c"))
    assert saga.undo_phases() == {"a/1": "waiting", "b/1": "released"}
    assert saga.tell(undone("a", 0)) == Ignored("no such try")
    assert saga.tell(undone("a", 1)) == Ignored("try not made yet")
