"""The saga: what was done is undone in reverse dependency order, tried again, or abandoned."""

from __future__ import annotations

from support.runs import CANCEL, cancelled, failed, ok, started, step
from support.sagas import COMPENSATE, UNDO, Saga, did, message_of, undone

from starlings.choreography import (
    DecisionKind,
    RunPhase,
    message_for,
)
from starlings.messages import (
    Compensation,
    CompensationReady,
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
