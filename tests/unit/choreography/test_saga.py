"""The saga: what was done is undone in reverse dependency order, tried again, or abandoned."""

from __future__ import annotations

import pytest
from support.runs import CANCEL, cancelled, failed, ok, started, step
from support.sagas import COMPENSATE, UNDO, Saga, did, not_undone, undone

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
    FailurePolicy,
    RetryPolicy,
    RunOutcome,
    StopRequested,
    Timeouts,
    TimerKind,
)

ONCE = RetryPolicy(attempts=1)


def stopped_at_work(name):
    return cancelled(name).model_copy(update={"compensation": UNDO})


def message_of(saga, kind):
    (decision,) = saga.owed(kind)
    return message_for(saga.run, decision)


# -- order ----------------------------------------------------------------------------------------


def test_a_trip_whose_hotel_is_full_gives_the_flight_back():
    saga = Saga("flight", "hotel<flight")
    saga.tell(did("flight", {"id": "F7"}), failed("hotel"))
    assert saga.run.phase is RunPhase.COMPENSATING
    ready = message_of(saga, DecisionKind.UNDO)
    assert isinstance(ready, CompensationReady)
    assert (ready.input, ready.reason) == ({"id": "F7"}, "step 'hotel' failed: hotel broke")
    assert [(c.step_id, c.output) for c in ready.context] == [("flight", {"id": "F7"})]
    saga.tell(undone("flight"))
    end = saga.end
    assert end.outcome is RunOutcome.COMPENSATED
    assert [(u.attempt, u.state, u.tries) for u in end.steps[0].undone] == [(1, "undone", 1)]
    assert end.error is not None
    assert end.error.message == "step 'hotel' failed: hotel broke"


def test_a_diamond_is_undone_from_its_foot_with_its_sides_beside_each_other():
    saga = Saga("a", "b<a", "c<a", "d<b,c", "e<d")
    saga.tell(did("a"), did("b"), did("c"), did("d"), failed("e"))
    assert saga.undos() == ["d/1/1"]
    saga.tell(undone("d"))
    assert sorted(saga.undos()) == ["b/1/1", "c/1/1"]
    saga.tell(undone("c"))
    assert saga.undos() == ["b/1/1"]
    saga.tell(undone("b"))
    assert saga.undos() == ["a/1/1"]
    saga.tell(undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_what_has_nothing_to_undo_does_not_stand_in_the_way():
    saga = Saga("a", "b<a", "c<b")
    saga.tell(did("a"), ok("b"), failed("c"))
    assert saga.undos() == ["a/1/1"]


def test_a_run_that_had_nothing_to_undo_has_failed():
    saga = Saga("a", "b<a")
    saga.tell(ok("a"), failed("b"))
    assert saga.end.outcome is RunOutcome.FAILED


def test_max_parallel_holds_for_undoing_too_and_the_last_step_goes_first():
    saga = Saga("a", "b", "c", "d<a,b,c", max_parallel=2)
    saga.tell(did("a"), did("b"), did("c"), failed("d"))
    assert saga.undos() == ["c/1/1", "b/1/1"]
    saga.tell(undone("b"))
    assert saga.undos() == ["c/1/1", "a/1/1"]


def test_running_steps_are_told_to_stop_and_what_they_did_is_undone_before_what_they_needed():
    saga = Saga("a", "b<a", "c<a")
    saga.tell(did("a"), started("b"), failed("c"))
    assert isinstance(message_of(saga, DecisionKind.STOP), StopRequested)
    assert saga.undos() == []
    saga.tell(did("b"))
    assert saga.undos() == ["b/1/1"]
    saga.tell(undone("b"))
    assert saga.undos() == ["a/1/1"]


def test_a_step_that_stops_when_told_to_has_nothing_to_undo():
    saga = Saga("a", "b<a", "c<a")
    saga.tell(did("a"), failed("c"), cancelled("b"))
    assert saga.undos() == ["a/1/1"]


def test_a_step_that_settles_late_waits_for_those_that_need_it_as_well():
    saga = Saga("a", "b", "c<a", step("d", "c", on_failure=FailurePolicy.CONTINUE), "e<a")
    saga.tell(did("a"), did("c"), failed("e"), did("d"), did("b"))
    assert sorted(saga.undos()) == ["b/1/1", "d/1/1"]


def test_a_failure_while_undoing_settles_its_step_whatever_its_own_policy_says():
    saga = Saga("a", "b", step("c", on_failure=FailurePolicy.SKIP_DEPENDENTS), "d<c")
    saga.tell(failed("a"), failed("b", retryable=True), failed("c"))
    assert saga.phases() == {"a": "failed", "b": "failed", "c": "failed", "d": "cancelled"}
    assert saga.end.outcome is RunOutcome.FAILED


# -- what turns a run round ------------------------------------------------------------------------


def test_a_cancelled_run_is_undone_and_stays_cancelled():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), CANCEL)
    saga.tell(cancelled("b"), undone("a"))
    assert saga.end.outcome is RunOutcome.CANCELLED


def test_a_run_that_is_too_late_is_undone():
    saga = Saga("a", "b<a", timeout_s=5)
    saga.tell(did("a"))
    saga.fire(TimerKind.DEADLINE)
    saga.tell(cancelled("b"), undone("a"))
    end = saga.end
    assert end.outcome is RunOutcome.COMPENSATED
    assert end.error is not None
    assert end.error.code == "deadline_exceeded"


def test_a_step_may_ask_for_undoing_where_its_run_does_not():
    saga = Saga("a", step("b", "a", on_failure=COMPENSATE), on_failure="stop")
    saga.tell(did("a"), failed("b"))
    assert saga.undos() == ["a/1/1"]


def test_a_step_may_keep_what_was_done_where_its_run_would_undo_it():
    saga = Saga("a", step("b", "a", on_failure=FailurePolicy.STOP))
    saga.tell(did("a"), failed("b"))
    assert saga.end.outcome is RunOutcome.FAILED
    assert saga.undo_phases() == {}


# -- what undoes -----------------------------------------------------------------------------------


def test_the_plan_goes_before_what_the_agent_recorded():
    plan = Compensation(agent="string", tool="reverse", args={"text": "x"}, input=7, task="undo")
    saga = Saga(step("a", compensate=plan), "b<a")
    saga.tell(did("a", "out"), failed("b"))
    ready = message_of(saga, DecisionKind.UNDO)
    assert (ready.agent, ready.tool, ready.args) == ("string", "reverse", {"text": "x"})
    assert (ready.input, ready.task, ready.timeouts) == (7, "undo", Timeouts())


def test_an_attempt_that_was_lost_is_undone_by_the_plan_though_nobody_knows_what_it_did():
    saga = Saga(step("a", compensate=UNDO, timeouts=Timeouts(run_s=1), retry=ONCE))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    ready = message_of(saga, DecisionKind.UNDO)
    assert (ready.attempt, ready.input) == (1, None)
    saga.tell(undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_a_step_that_was_stopped_at_work_is_undone_where_its_agent_can():
    saga = Saga("a", "b")
    saga.tell(started("a"), failed("b"))
    saga.tell(stopped_at_work("a"))
    ready = message_of(saga, DecisionKind.UNDO)
    assert (ready.attempt, ready.input, ready.context[0].output) == (1, None, None)
    saga.tell(undone("a"))
    assert (saga.end.outcome, saga.phases()["a"]) == (RunOutcome.COMPENSATED, "cancelled")


def test_an_attempt_that_was_stopped_for_its_time_is_undone_while_the_run_goes_on():
    saga = Saga("a", timeouts=Timeouts(run_s=1), retry=RetryPolicy(initial_s=0))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.tell(stopped_at_work("a"))
    assert saga.undos() == ["a/1/1"]
    assert message_of(saga, DecisionKind.UNDO).input is None


def test_undoing_a_stopped_attempt_leaves_alone_what_the_next_one_returned():
    saga = Saga(
        "a", "b<a", timeouts=Timeouts(run_s=1), retry=RetryPolicy(initial_s=0, attempts=2)
    )  # fmt: skip
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(did("a", "second", attempt=2), stopped_at_work("a"))
    ready = message_of(saga, DecisionKind.UNDO)
    assert (ready.attempt, ready.input, ready.context[0].output) == (1, None, None)


def test_a_step_that_stops_and_says_of_no_effect_has_nothing_to_undo_but_what_the_plan_says():
    saga = Saga(step("a", compensate=UNDO), "b")
    saga.tell(started("a"), failed("b"), cancelled("a"))
    assert saga.end.outcome is RunOutcome.FAILED


def test_an_attempt_that_was_lost_is_undone_although_another_one_followed():
    policy = RetryPolicy(attempts=2, initial_s=0)
    saga = Saga(step("a", compensate=UNDO, timeouts=Timeouts(run_s=1), retry=policy), "b<a")
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(ok("a", "second", attempt=2), failed("b"))
    assert sorted(saga.undos()) == ["a/1/1", "a/2/1"]
    assert [message_for(saga.run, d).input for d in saga.owed(DecisionKind.UNDO)] == [
        None,
        "second",
    ]
    saga.tell(undone("a"), undone("a", attempt=2))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_an_attempt_that_was_lost_is_undone_when_the_next_one_fails_for_good():
    policy = RetryPolicy(attempts=2, initial_s=0)
    saga = Saga(step("a", compensate=UNDO, timeouts=Timeouts(run_s=1), retry=policy))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(failed("a", 2))
    assert saga.undos() == ["a/1/1"]


def test_an_attempt_that_nobody_started_in_time_has_done_nothing():
    saga = Saga(step("a", compensate=UNDO, timeouts=Timeouts(queue_s=1), retry=ONCE))
    saga.fire(TimerKind.QUEUE, "a")
    assert saga.end.outcome is RunOutcome.FAILED


def test_an_attempt_given_up_when_the_grace_has_passed_is_undone_by_the_plan():
    saga = Saga(step("a", compensate=UNDO), "b")
    saga.tell(failed("b"))
    saga.fire(TimerKind.SETTLE)
    assert saga.phases()["a"] == "cancelled"
    assert saga.undos() == ["a/1/1"]


def test_limits_of_an_attempt_end_when_it_is_given_up():
    saga = Saga(step("a", timeouts=Timeouts(run_s=600)), "b", "c<b")
    saga.tell(did("b"), failed("c"), started("a"))
    assert "run a" in saga.timers()
    saga.fire(TimerKind.SETTLE)
    assert saga.timers() == {}
    saga.tell(undone("b"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


# -- late results ----------------------------------------------------------------------------------


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


# -- tried again, abandoned ------------------------------------------------------------------------


def test_an_undoing_is_tried_again_with_a_growing_pause():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), failed("b"))
    saga.tell(not_undone("a", retryable=True), at_s=0)
    assert 1 <= saga.timers()["undo_retry a"] <= 1.1
    change = saga.fire(TimerKind.UNDO_RETRY, "a")
    assert [d.id for d in change.decisions] == ["r/a/1/compensation_ready/2"]
    assert saga.tell(undone("a", 1)) == Ignored("stale try")
    assert saga.tell(undone("a", 3)) == Ignored("try not made yet")
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
