"""Planning a run anew because a step has failed for good, or because its result asks for it."""

from __future__ import annotations

import json

import pytest
from support.recovery.coordinator import plain
from support.replans import (
    REPLAN,
    UNKNOWN,
    accepted,
    hopeless,
    proposed,
    question,
    refusals,
    rejected,
    released,
)
from support.runs import failed, ok, step
from support.sagas import Saga, did, undone

from starlings.choreography import (
    DecisionKind,
    message_for,
    snapshot,
)
from starlings.messages import (
    AmendmentProposed,
    RunOutcome,
    StepDone,
    TimerKind,
)

# -- failures ----------------------------------------------------------------------------------


def test_a_step_that_failed_is_replaced_and_the_rest_keeps_its_results():
    saga = hopeless()
    assert saga.phases() == {"a": "done", "b": "failed", "c": "waiting"}
    assert (question(saga).step_id, question(saga).text) == ("b", "b broke")
    saga.tell(proposed(replace=[step("b", "a", task="otherwise")]), accepted())
    assert released(saga) == ["b/2"]
    ready = message_for(saga.run, saga.owed(DecisionKind.RELEASE)[0])
    assert (ready.task, ready.context[0].output) == ("otherwise", "A")
    saga.tell(did("b", "B", attempt=2), ok("c", "C"))
    assert (saga.end.outcome, saga.end.output) == (RunOutcome.COMPLETED, "C")
    assert saga.run.undos == {}


def test_a_step_that_failed_may_be_done_again_once_something_else_is_done():
    saga = hopeless()
    saga.tell(proposed(add=[step("fix", "a")], replace=[step("b", "a", "fix")]), accepted())
    assert released(saga) == ["fix/1"]
    saga.tell(ok("fix"))
    assert released(saga) == ["b/2"]


def test_a_step_that_failed_may_be_removed_with_what_depends_on_it():
    saga = hopeless()
    saga.tell(proposed(remove=["b", "c"], add=[step("d", "a")]), accepted(), ok("d", "D"))
    assert (saga.end.outcome, saga.end.output) == (RunOutcome.COMPLETED, "D")
    assert [s.state for s in saga.end.steps] == ["done", "removed", "removed", "done"]


@pytest.mark.parametrize(
    "answer",
    [
        proposed(add=[step("d", "a")]),
        AmendmentProposed(run_id="r", number=1, problems=[UNKNOWN]),
        None,
    ],
)
def test_without_another_plan_a_run_whose_step_failed_is_undone(answer):
    saga = hopeless()
    if answer is None:
        saga.fire(TimerKind.REPLAN)
    else:
        saga.tell(answer)
    assert list(refusals(saga)) == ["r/amendment_rejected/1"]
    saga.tell(undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED
    assert "(no other plan: " in saga.end.error.message


def test_a_run_whose_new_plan_the_coordinator_refuses_is_undone():
    saga = hopeless()
    saga.tell(proposed(remove=["b", "c"]), rejected(), undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_steps_may_have_a_run_planned_anew_so_often_and_no_more():
    saga = hopeless(max_replans=2)
    for number in (1, 2):
        saga.tell(proposed(number, invalidate=["b"]), accepted(number), failed("b", number + 1))
    saga.tell(undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_two_failures_are_planned_anew_one_after_the_other():
    saga = Saga("a", "b", "c<a,b", on_failure=REPLAN)
    saga.tell(failed("a"), failed("b"))
    assert question(saga).step_id == "a"
    saga.tell(proposed(replace=[step("a", task="x")]), accepted())
    assert released(saga) == []
    assert question(saga).step_id == "b"
    saga.tell(proposed(2, invalidate=["b"]), accepted(2))
    assert released(saga) == ["a/2", "b/2"]
    saga.tell(ok("a", attempt=2), ok("b", attempt=2), ok("c", "C"))
    assert saga.end.output == "C"


def test_a_failure_that_another_amendment_has_dealt_with_is_not_planned_anew():
    saga = Saga("a", "b", "c<a,b", on_failure=REPLAN)
    saga.tell(failed("a"), failed("b"), proposed(replace=[step("a")], remove=["b", "c"]))
    saga.tell(accepted())
    assert saga.run.replans == []
    saga.tell(ok("a", "A", attempt=2))
    assert saga.end.outcome is RunOutcome.COMPLETED


def test_a_list_fails_as_a_whole_and_is_made_anew():
    saga = Saga(step("all", foreach={"items": [1, 2, 3]}), "z<all", on_failure=REPLAN)
    saga.tell(did("all[0]"), failed("all[1]"), did("all[2]"))
    assert question(saga).step_id == "all"
    saga.tell(proposed(replace=[step("all", foreach={"items": [5, 6]})]), accepted())
    assert saga.undos() == ["all[2]/1/1", "all[0]/1/1"]
    restored = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(saga.run))))
    assert plain(restored) == plain(saga.run)
    saga.tell(undone("all[0]"), undone("all[2]"))
    restored = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(saga.run))))
    assert plain(restored) == plain(saga.run)
    assert released(saga) == ["all[0]/2", "all[1]/2"]
    saga.tell(ok("all[0]", 5, attempt=2), ok("all[1]", 6, attempt=2), ok("z", "Z"))
    assert saga.end.outcome is RunOutcome.COMPLETED
    assert [s.step_id for s in saga.end.steps] == ["all", "all[0]", "all[1]", "z"]
    assert saga.end.steps[0].output == [5, 6]


def test_a_longer_list_takes_its_new_items_from_the_end_of_the_plan():
    saga = Saga(step("all", foreach={"items": [1]}), "z<all", on_failure=REPLAN)
    saga.tell(failed("all[0]"))
    longer = step("all", foreach={"items": [7, 8]})
    saga.tell(proposed(replace=[longer], add=[step("y")]), accepted())
    restored = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(saga.run))))
    assert plain(restored) == plain(saga.run)
    saga.tell(ok("all[0]", 7, attempt=2), ok("all[1]", 8), ok("z"), ok("y", "Y"))
    assert saga.end.steps[0].output == [7, 8]


# -- a step's word -----------------------------------------------------------------------------


def asks(name: str, why: str = "too dull") -> StepDone:
    return did(name, name.upper()).model_copy(update={"replan": why})


def test_a_critics_word_has_the_run_planned_anew_before_anything_else_begins():
    saga = Saga("draft", "critic<draft", "print<critic")
    saga.tell(did("draft", "D"), asks("critic"))
    assert (question(saga).text, question(saga).step_id) == ("too dull", "critic")
    assert released(saga) == []
    saga.tell(proposed(replace=[step("draft", task="livelier")]), accepted())
    assert saga.undos() == ["critic/1/1"]
    saga.tell(undone("critic"), undone("draft"))
    assert released(saga) == ["draft/2"]


def test_a_critic_whose_word_leads_nowhere_is_not_heard():
    saga = Saga("critic", "print<critic")
    none = AmendmentProposed(run_id="r", number=1, problems=[UNKNOWN])
    saga.tell(asks("critic"), none, ok("print", "P"))
    assert saga.end.outcome is RunOutcome.COMPLETED


def test_a_critic_that_asks_too_often_is_told_so():
    saga = Saga("critic", "print<critic", max_replans=0)
    saga.tell(asks("critic"))
    assert refusals(saga) == {"r/amendment_rejected/1": ["replans_used_up"]}
    restored = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(saga.run))))
    assert plain(restored) == plain(saga.run)
    assert released(saga) == ["print/1"]


def test_a_word_that_comes_while_the_run_turns_round_changes_nothing():
    saga = Saga("a", "b")
    saga.tell(failed("a"), asks("b"))
    assert saga.run.replans == []
