"""Undoing a part of a run, in its order, so that it is done otherwise; the rest stays as it is."""

from __future__ import annotations

import json

import pytest
from support.recovery.coordinator import plain
from support.replans import accepted, proposed, refusals, released, wanted
from support.runs import CANCEL, asks, cancelled, failed, ok, started, step, waits
from support.sagas import UNDO, Saga, did, not_undone, undone

from starlings.choreography import DecisionKind, message_for, refusal, reopen, snapshot
from starlings.choreography.confirming import record_end
from starlings.messages import (
    Amendment,
    Compensation,
    PlanAmended,
    RetryRequested,
    RunOutcome,
    SignalReceived,
    StepDone,
    StepOutcome,
    TimerKind,
)

CHAIN = ("a", "b<a", "c<b", "x", "y<x")
ELSEWHERE = Compensation(agent="string")


def replan(saga: Saga, number: int = 1, **amendment: object) -> None:
    """Have a run planned anew by hand, as far as its amendment is accepted."""
    saga.tell(wanted(), proposed(number, **amendment), accepted(number))


def same_after_a_snapshot(saga: Saga) -> None:
    saved = json.loads(json.dumps(snapshot.save(saga.run)))
    assert plain(snapshot.load("r", 7, saved)) == plain(saga.run)


def stops(saga: Saga) -> dict[str, object]:
    told = [message_for(saga.run, d) for d in saga.owed(DecisionKind.STOP)]
    return {name: upto for stop in told for name, upto in (stop.attempts or {}).items()}


def test_what_was_built_on_a_step_is_undone_in_reverse_order_and_done_again():
    saga = Saga(*CHAIN, "d<c,y")
    saga.tell(did("a", "A"), did("b", "B"), did("c", "C"), did("x", "X"), did("y", "Y"))
    replan(saga, replace=[step("b", "a", task="otherwise")])
    assert (saga.undos(), stops(saga)) == ([], {"d": 1})
    saga.tell(cancelled("d"))
    assert saga.undos() == ["c/1/1"]
    same_after_a_snapshot(saga)
    saga.tell(undone("c"))
    assert saga.undos() == ["b/1/1"]
    same_after_a_snapshot(saga)
    assert released(saga) == []
    saga.tell(undone("b"))
    assert saga.undos() == []
    same_after_a_snapshot(saga)
    assert released(saga) == ["b/2"]
    assert saga.phases() | {"a": "done", "x": "done", "y": "done"} == saga.phases()
    saga.tell(ok("b", "B2", attempt=2), ok("c", "C2", attempt=2), ok("d", "D", attempt=2))
    assert (saga.end.outcome, saga.end.output) == (RunOutcome.COMPLETED, "D")
    assert [s.attempts for s in saga.end.steps] == [1, 2, 2, 1, 1, 2]


def test_the_reason_is_told_with_what_is_undone():
    saga = Saga("a", "b<a")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(cancelled("b"))
    assert [d.because for d in saga.owed(DecisionKind.UNDO)] == ["planned anew: otherwise, please"]


def test_what_runs_on_invalid_results_is_stopped_first():
    saga = Saga("a", "b<a", "c<a", "x")
    saga.tell(did("a"), started("b"))
    replan(saga, invalidate=["a"])
    assert stops(saga) == {"b": 1, "c": 1}
    assert saga.undos() == []
    saga.tell(cancelled("b"))
    assert saga.undos() == []
    saga.tell(did("c"))  # it was done before it heard of its stop
    assert saga.undos() == ["c/1/1"]
    saga.tell(undone("c"))
    assert saga.undos() == ["a/1/1"]
    saga.tell(undone("a"))
    assert released(saga) == ["x/1", "a/2"]


def test_an_attempt_that_was_stopped_at_work_is_undone_as_far_as_it_tells():
    saga = Saga("a", "b<a")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    told = cancelled("b").model_copy(update={"compensation": UNDO})
    saga.tell(told)
    assert saga.undos() == ["b/1/1"]


def test_an_attempt_that_fails_while_it_is_stopped_is_not_tried_again():
    saga = Saga("a", "b<a")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(failed("b", retryable=True), undone("a"))
    assert released(saga) == ["a/2"]


def test_attempts_that_do_not_tell_that_they_stopped_are_given_up_after_a_while():
    saga = Saga("a", step("b", "a", compensate=UNDO), "x")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.fire(TimerKind.SETTLE)
    assert saga.phases() == {"a": "done", "b": "cancelled", "x": "released"}
    assert saga.undos() == ["b/1/1"]
    same_after_a_snapshot(saga)
    saga.tell(undone("b"), undone("a"))
    assert released(saga) == ["x/1", "a/2"]


def test_a_timer_of_an_attempt_that_starts_while_it_is_stopped_gives_it_up():
    saga = Saga("a", "b<a")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(started("b"))
    saga.fire(TimerKind.RUN, "b")
    assert saga.phases()["b"] == "failed"
    assert saga.undos() == ["a/1/1"]


def test_what_was_never_begun_waits_again_whatever_it_waited_for():
    saga = Saga("a", "ready<a", asks("ask", "a"), waits("sign", "a"), "late<a")
    saga.tell(did("a"), failed("ready", retryable=True), failed("late", retryable=True))
    assert saga.phases() == {
        "a": "done",
        "ready": "backoff",
        "ask": "asking",
        "sign": "asking",
        "late": "backoff",
    }
    saga.tell(wanted(), proposed(invalidate=["a"]))
    saga.fire(TimerKind.RETRY, "late")
    saga.tell(accepted())
    assert "ASK" not in {d.kind.name for d in saga.run.owed.values()}
    saga.tell(SignalReceived(run_id="r", name="payment", payload=5), undone("a"))
    assert set(saga.phases().values()) == {"waiting", "released"}
    saga.tell(did("a", attempt=2))
    assert saga.phases()["ask"] == "asking"
    assert saga.phases()["sign"] == "done"  # its signal was kept


def test_a_list_that_is_at_work_is_stopped_item_by_item_and_made_anew():
    saga = Saga("a", step("all", "a", foreach={"items": [1, 2, 3], "max_parallel": 2}), "z<all")
    saga.tell(did("a"), did("all[0]"))
    replan(saga, invalidate=["a"])
    assert stops(saga) == {"all[1]": 1, "all[2]": 1}
    same_after_a_snapshot(saga)
    saga.tell(did("all[1]"), cancelled("all[2]"))
    assert saga.undos() == ["all[0]/1/1", "all[1]/1/1"]
    saga.tell(undone("all[0]"), undone("all[1]"), undone("a"))
    same_after_a_snapshot(saga)
    assert released(saga) == ["a/2"]
    saga.tell(ok("a", attempt=2))
    assert released(saga) == ["all[0]/2", "all[1]/2"]
    saga.tell(CANCEL)
    assert saga.phases()["all[2]"] == "cancelled"


def test_items_that_a_new_list_has_not_are_undone_if_they_come_late():
    saga = Saga(step("all", foreach={"items": [1, 2]}), "z<all", "x")
    saga.tell(did("all[0]"), wanted(), proposed(replace=[step("all")]), accepted())
    saga.fire(TimerKind.SETTLE)
    saga.tell(undone("all[0]"), failed("all"), did("all[1]"))
    assert saga.run.phase.value == "compensating"
    assert saga.undos() == ["all[1]/1/1"]
    same_after_a_snapshot(saga)
    saga.tell(undone("all[1]"), cancelled("x"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_late_results_of_before_are_undone_by_what_the_plan_said_then():
    saga = Saga(step("a", compensate=UNDO), "x")
    replan(saga, replace=[step("a", compensate=ELSEWHERE)])
    saga.fire(TimerKind.SETTLE)
    assert saga.undos() == ["a/1/1"]
    saga.tell(undone("a"), ok("a", "late"))
    assert saga.undos() == []
    saga.tell(ok("a", "A", attempt=2), failed("x"))
    (decision,) = saga.owed(DecisionKind.UNDO)
    assert (decision.attempt, message_for(saga.run, decision).agent) == (2, "string")


def test_attempts_that_nobody_heard_of_are_undone_by_what_the_plan_said_then():
    saga = Saga(step("a", compensate=UNDO, timeouts={"run_s": 5}), "x")
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    replan(saga, replace=[step("a")])
    saga.tell(cancelled("a", attempt=2))
    assert saga.undos() == ["a/1/1"]
    saga.tell(undone("a"), ok("a", attempt=2), failed("x"))
    assert released(saga) == []
    assert saga.run.undos["a", 1].phase.value == "undone"


def test_a_repeat_of_a_result_that_was_undone_changes_nothing():
    saga = Saga("a", "x")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(did("a"), undone("a"), did("a"))
    assert saga.undos() == []
    assert released(saga) == ["x/1", "a/2"]


def test_a_step_that_cannot_be_undone_has_the_whole_run_undone_as_far_as_can_be():
    saga = Saga("a", "b<a", "x", "y")
    saga.tell(did("a"), did("b"), did("x"))
    replan(saga, invalidate=["a"])
    saga.tell(not_undone("b"))
    assert saga.run.phase.value == "compensating"
    assert saga.undos() == ["x/1/1"]
    same_after_a_snapshot(saga)
    saga.tell(undone("x"), cancelled("y"))
    for decision in saga.owed(DecisionKind.BURY):
        saga.run.owed.pop(decision.id)
        saga.run.burials -= 1
    saga.tell(SignalReceived(run_id="r", name="none"))
    assert saga.run.replans == []


def test_an_undoing_that_never_ends_has_the_whole_run_undone():
    slow = Compensation(agent="math", retry={"attempts": 1}, timeouts={"run_s": 1, "queue_s": 1})
    saga = Saga(step("a", compensate=slow), "x")
    saga.tell(ok("a"))
    replan(saga, invalidate=["a"])
    saga.fire(TimerKind.UNDO_RUN, "a")
    assert saga.run.phase.value == "compensating"
    assert "could not be undone to be planned anew" in saga.run.error.message


def test_a_late_undoing_that_fails_beside_it_leaves_the_run_as_it_is():
    saga = Saga("a", step("b", timeouts={"run_s": 5}), "x")
    saga.tell(started("b"))
    saga.fire(TimerKind.RUN, "b")
    saga.tell(did("b"), not_undone("b"))
    assert saga.run.phase.value == "running"
    saga.tell(wanted(), proposed(invalidate=["b"]))
    assert refusals(saga) == {"r/amendment_rejected/1": ["not_undone"]}


def test_a_failure_elsewhere_undoes_everything_each_attempt_once():
    saga = Saga("a", "b<a", "x", "y")
    saga.tell(did("a"), did("b"), did("x"))
    replan(saga, invalidate=["a"])
    saga.tell(undone("b"), failed("y"))
    assert saga.undos() == ["a/1/1", "x/1/1"]
    saga.tell(undone("a"), undone("x"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_steps_cannot_amend_a_plan_that_is_being_amended():
    saga = Saga("a", "b<a", "boss")
    saga.tell(did("a"))
    asked = Amendment(add=[step("w")])
    saga.tell(wanted(), proposed(invalidate=["a"]), accepted())
    saga.tell(ok("boss", amendment=asked))
    assert refusals(saga) == {"r/boss/1/amendment_rejected": ["replanning"]}


def test_what_is_stopped_does_not_amend_the_plan_nor_ask_for_another():
    saga = Saga("a", "boss<a", "late<a")
    saga.tell(did("a"), wanted(), proposed(invalidate=["a"]))
    saga.tell(ok("boss", amendment=Amendment(add=[step("w")])), accepted())
    late = ok("late", amendment=Amendment(add=[step("v")])).model_copy(update={"replan": "why"})
    saga.tell(late)
    again = PlanAmended(run_id="r", step_id="boss", attempt=1, amendment=Amendment())
    assert "no such amendment" in saga.tell(again).reason
    assert sorted(saga.run.steps) == ["a", "boss", "late"]
    saga.tell(undone("a"))
    assert released(saga) == ["a/2"]


def test_what_was_skipped_is_looked_at_again():
    condition = {"value": "{{steps.a.output}}", "equals": 1}
    saga = Saga("a", step("b", "a", when=condition), "x")
    saga.tell(ok("a", 2))
    assert [d.id for d in saga.owed(DecisionKind.SKIP)] == ["r/b/step_skipped"]
    replan(saga, invalidate=["a"])
    saga.tell(ok("a", 3, attempt=2))
    assert saga.owed(DecisionKind.SKIP)[-1].id == "r/b/step_skipped/replan1"
    replan(saga, 2, invalidate=["a"])
    saga.tell(ok("a", 1, attempt=3))
    assert released(saga) == ["x/1", "b/1"]


@pytest.mark.parametrize("names", [["b"], ["b", "c"]])
def test_what_was_skipped_because_of_another_failure_stays_skipped(names):
    saga = Saga("a", "f", "b<a,f", "c<b", "x", on_failure="skip_dependents")
    saga.tell(did("a"), failed("f"))
    assert saga.phases()["c"] == "skipped"
    replan(saga, invalidate=names)
    assert [saga.phases()[name] for name in ("b", "c")] == ["skipped", "skipped"]
    assert [s.because for s in saga.run.order[2:4]] == ["f", "f"]


def test_a_run_that_was_rewound_and_failed_may_be_retried():
    saga = Saga("a", "x", on_failure="stop")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(undone("a"), did("a", attempt=2), failed("x"))
    record_end(saga.run)
    assert refusal(saga.run, step_id=None, compensation=False) is None
    state = json.loads(json.dumps(snapshot.save(saga.run)))
    fact = RetryRequested(run_id="r", generation=1, plan_offset=7, state=state)
    run, _ = reopen(fact, at_ms=1)
    assert [d.step_id for d in run.owed.values()] == ["x"]


def test_results_do_not_wait_for_a_late_undoing_of_the_step_they_come_from():
    saga = Saga(step("a", timeouts={"run_s": 5}), "x")
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    replan(saga, invalidate=["a"])
    late = StepDone(
        run_id="r",
        step_id="a",
        attempt=1,
        agent="math",
        outcome=StepOutcome.OK,
        output="late",
        compensation=UNDO,
    )
    saga.tell(late)
    assert saga.undos() == ["a/1/1"]
    saga.tell(cancelled("a", attempt=2))
    assert released(saga) == ["x/1"]
    saga.tell(undone("a"))
    assert released(saga) == ["x/1", "a/3"]


def test_a_run_that_keeps_what_it_did_undoes_no_more_than_it_has_begun_to():
    saga = Saga("a", "b<a", "x", on_failure="stop")
    saga.tell(did("a"), did("b"))
    replan(saga, invalidate=["a"])
    saga.tell(CANCEL, undone("b"), cancelled("x"))
    assert saga.undo_phases() == {"b/1": "undone"}
    assert saga.end.outcome is RunOutcome.CANCELLED
    record_end(saga.run)
    assert "has been undone" in str(refusal(saga.run, step_id=None, compensation=False))


def test_a_snapshot_of_version_3_tells_the_places_of_items_without_brackets():
    saga = Saga(step("all", foreach={"items": [1, 2]}), "z<all")
    saved = json.loads(json.dumps(snapshot.save(saga.run))) | {"version": 3}
    (bounds, following, uncleared) = saved["steps"][0]["items"]
    saved["steps"][0]["items"] = [*bounds, following, uncleared]
    del saved["replanning"]
    assert plain(snapshot.load("r", 7, saved)) == plain(saga.run)


def test_what_settles_elsewhere_lets_nothing_begin_on_results_that_are_being_undone():
    saga = Saga("a", "x", "c<a,x")
    saga.tell(did("a"))
    replan(saga, invalidate=["a"])
    saga.tell(ok("x"))
    assert saga.phases()["c"] == "waiting"
    saga.tell(undone("a"))
    assert released(saga) == ["a/2"]
    saga.tell(ok("a", attempt=2))
    assert released(saga) == ["c/1"]
