"""Amendments: a step's result changes the plan of its run, once, or says why it cannot."""

from __future__ import annotations

import json
import time

import pytest
from support.recovery.coordinator import plain
from support.runs import BEGIN_MS, CANCEL, Story, failed, ok, step
from support.sagas import Saga, did, undone

from starlings.choreography import DecisionKind, message_for, refusal, reopen, snapshot
from starlings.choreography.confirming import record_end
from starlings.messages import (
    Amendment,
    AmendmentRejected,
    Condition,
    FailurePolicy,
    ForEach,
    PlanAmended,
    Problem,
    RetryRequested,
    RunOutcome,
    StepDone,
)

UNKNOWN = Problem(code="unknown_agent", message="no agent", remedy="start it first")


def asked(name: str = "boss", **amendment: object) -> StepDone:
    return ok(name, "managed", amendment=Amendment(**amendment))


def accepted(name: str = "boss") -> PlanAmended:
    return PlanAmended(run_id="r", step_id=name, attempt=1, amendment=Amendment())


def rejected(name: str = "boss") -> AmendmentRejected:
    return AmendmentRejected(run_id="r", step_id=name, attempt=1, problems=[UNKNOWN])


def released(story: Story) -> list[str]:
    return [d.step_id for d in story.owed(DecisionKind.RELEASE)]


def managed() -> Story:
    """Make a run of a manager whose report is to wait for two workers, one after the other."""
    story = Story("boss", "report<boss", "other")
    story.tell(asked(add=[step("w1", "boss"), step("w2", "w1")]))
    return story


def test_added_steps_are_done_and_what_depends_on_the_manager_waits_for_them():
    story = managed()
    assert story.phases() == {"boss": "amending", "report": "waiting", "other": "released"}
    (decision,) = story.owed(DecisionKind.AMEND)
    fact = message_for(story.run, decision)
    assert (decision.id, fact.amendment.add[1].id) == ("r/boss/1/plan_amended", "w2")
    story.tell(fact)
    assert released(story) == ["other", "w1"]
    story.tell(ok("w1"), ok("w2", "W"))
    ready = message_for(story.run, story.owed(DecisionKind.RELEASE)[-1])
    assert [(r.step_id, r.output) for r in ready.context] == [("boss", "managed"), ("w2", "W")]
    story.tell(ok("report", "R"), ok("other", "O"))
    end = story.end
    assert [s.step_id for s in end.steps] == ["boss", "w1", "w2", "report", "other"]
    assert (end.outcome, end.output) == (RunOutcome.COMPLETED, "O")


def test_an_amendment_counts_once_however_often_it_is_told():
    story = managed()
    again = story.tell(asked(add=[step("w9")]))
    assert "the step is amending" in again.reason
    story.tell(accepted())
    assert "no such amendment" in story.tell(accepted()).reason
    assert "nothing of that id" in story.tell(rejected()).reason
    assert sorted(story.run.steps) == ["boss", "other", "report", "w1", "w2"]


def test_a_result_that_is_repeated_while_its_amendment_is_looked_at_is_not_undone():
    saga = Saga("boss")
    result = did("boss").model_copy(update={"amendment": Amendment(add=[step("w")])})
    saga.tell(result, result)
    assert saga.undos() == []


def test_a_run_does_not_end_while_its_last_step_wants_more():
    story = Story("boss")
    story.tell(asked(add=[step("w", "boss")]))
    assert story.owed(DecisionKind.END) == []
    story.tell(accepted(), ok("w", "W"))
    assert (story.end.outcome, story.end.output) == (RunOutcome.COMPLETED, "W")


def test_without_join_nothing_waits_for_what_is_added():
    story = Story("boss", "report<boss")
    story.tell(asked(add=[step("w")], join=False), accepted())
    assert released(story) == ["report", "w"]


def test_steps_that_have_not_begun_are_removed_and_replaced():
    story = Story("a", "boss", "b<boss", "c<a", "d<c", "e", max_parallel=2)
    assert story.phases()["e"] == "ready"
    instead = [step("d", "a", task="otherwise"), step("e", "boss", task="later")]
    story.tell(asked(remove=["c"], replace=instead, reason="c is not needed"), accepted())
    assert story.phases()["c"] == "cancelled"
    assert released(story) == ["a", "b"]
    story.tell(ok("a"), ok("b"), ok("d", "D"), ok("e", "E"))
    assert (story.end.outcome, story.end.output) == (RunOutcome.COMPLETED, "E")
    assert {s.step_id: s.state for s in story.end.steps}["c"] == "removed"
    record_end(story.run)
    assert "no step that is not done" in refusal(story.run, step_id=None, compensation=False)


def test_a_ready_step_can_be_removed():
    story = Story("boss", "a", max_parallel=1)
    story.tell(asked(remove=["a"]), accepted())
    assert story.end.outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize(
    ("amendment", "code", "said"),
    [
        ({"add": [step("x", "y"), step("y", "x")]}, "cycle", "steps wait for each other"),
        ({"add": [step("x", "report")]}, "cycle", "steps wait for each other"),
        ({"add": [step("x", "nobody")]}, "unknown_dependency", "there is no step 'nobody'"),
        ({"add": [step("x", task="")]}, "empty_task", "the task is empty"),
        ({"add": [step("done")]}, "duplicate_id", "there is a step 'done'"),
        ({"add": [step("x"), step("x")]}, "duplicate_id", "2 steps have the id"),
        ({"remove": ["done"]}, "step_begun", "the step has begun: it is done"),
        ({"remove": ["out"]}, "step_begun", "it is released"),
        ({"remove": ["list[1]"]}, "step_begun", "it is part of a list"),
        ({"remove": ["nobody"]}, "unknown_step", "there is no step 'nobody'"),
        ({"remove": ["report"]}, "unknown_dependency", "there is no step 'report'"),
        ({"replace": [step("done")]}, "step_begun", "the step has begun: it is done"),
        ({"replace": [step("nobody")]}, "unknown_step", "there is no step 'nobody'"),
        ({"replace": [step("report", "last")]}, "cycle", "steps wait for each other"),
        ({"remove": ["last", "last"]}, "named_twice", "removed or replaced more than once"),
        ({"replace": [step("last"), step("last")]}, "named_twice", "more than once"),
        ({"remove": ["last"], "replace": [step("last")]}, "named_twice", "more than once"),
    ],
    ids=str,
)
def test_an_amendment_that_makes_no_sense_is_rejected_and_the_run_goes_on(amendment, code, said):
    mapped = step("list", foreach=ForEach(items=[1, 2], max_parallel=1))
    story = Story("done", "boss", "report<boss", "last<report", "out", mapped)
    story.tell(ok("done"), asked(**amendment))
    (decision,) = story.owed(DecisionKind.REJECT)
    fact = message_for(story.run, decision)
    assert (decision.id, fact.problems[0].code) == ("r/boss/1/amendment_rejected", code)
    assert said in fact.problems[0].message
    assert "report" in released(story)
    story.tell(fact)
    assert story.owed(DecisionKind.REJECT) == []


def test_agents_that_are_not_known_make_nothing_of_the_amendment():
    story = managed()
    story.tell(rejected())
    assert released(story) == ["other", "report"]
    assert sorted(story.run.steps) == ["boss", "other", "report"]
    assert story.owed(DecisionKind.AMEND) == []


def test_nothing_begins_between_a_result_and_the_amendment_that_came_with_it():
    story = Story("boss", "a", "b<a", "c<a")
    story.tell(asked(remove=["b"]), ok("a"))
    assert story.phases() == {"boss": "amending", "a": "done", "b": "ready", "c": "ready"}
    assert released(story) == []
    story.tell(accepted())
    assert released(story) == ["c"]


def test_two_managers_add_the_same_step_and_the_first_one_counts():
    story = Story("boss", "chief")
    story.tell(asked(add=[step("w")]), asked("chief", add=[step("w")]))
    story.tell(accepted(), accepted("chief"))
    fact = message_for(story.run, story.owed(DecisionKind.REJECT)[0])
    assert (fact.step_id, fact.problems[0].code) == ("chief", "duplicate_id")


def test_an_item_of_a_list_amends_nothing():
    story = Story(step("list", foreach=ForEach(items=[1])))
    story.tell(asked("list[0]", add=[step("w")]))
    fact = message_for(story.run, story.owed(DecisionKind.REJECT)[0])
    assert fact.problems[0].code == "amendment_of_item"
    assert story.end.outcome is RunOutcome.COMPLETED


def test_added_steps_may_be_lists_and_have_conditions_and_amend_again():
    never = Condition(value="{{steps.boss.state}}", equals="failed")
    listed = step("list", "boss", foreach=ForEach(items=[1, 2]))
    story = Story("boss")
    story.tell(asked(add=[listed, step("off", "boss", when=never), step("chief")]), accepted())
    story.tell(ok("list[0]"), asked("chief", add=[step("w", "chief")]), accepted("chief"))
    story.tell(ok("list[1]"), ok("w"))
    assert [s.step_id for s in story.end.steps] == [
        "boss",
        "list",
        "list[0]",
        "list[1]",
        "off",
        "chief",
        "w",
    ]


def test_a_run_that_turns_round_amends_nothing_and_undoes_the_manager():
    saga = Saga("boss", "a", "report<boss")
    saga.tell(did("boss").model_copy(update={"amendment": Amendment(add=[step("w")])}))
    saga.tell(failed("a"))
    assert saga.undos() == ["boss/1/1"]
    assert "no such amendment" in saga.tell(accepted()).reason
    saga.tell(undone("boss"))
    assert saga.end.outcome is RunOutcome.COMPENSATED
    late = Saga("boss", "a")
    late.tell(failed("a"), asked(add=[step("w")]))
    assert late.end.outcome is RunOutcome.FAILED


def test_added_steps_are_undone_before_what_they_depend_on():
    saga = Saga("boss", "report<boss", "c<boss")
    saga.tell(
        did("boss").model_copy(
            update={"amendment": Amendment(add=[step("w", "boss")], remove=["c"])}
        )
    )
    saga.tell(accepted(), did("w"), failed("report"))
    assert saga.undos() == ["w/1/1"]
    saga.tell(undone("w"))
    assert saga.undos() == ["boss/1/1"]


def test_a_cancelled_run_that_was_amended_can_be_reopened():
    story = managed()
    story.tell(accepted(), failed("w1"), ok("other"))
    record_end(story.run)
    state = json.loads(json.dumps(snapshot.save(story.run)))
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=state)
    story.run, _ = reopen(word, at_ms=BEGIN_MS)
    assert released(story) == ["w1"]


@pytest.mark.parametrize("change", [{"remove": ["do"]}, {"replace": [step("do", "boss")]}])
def test_a_list_that_was_laid_out_before_its_run_was_reopened_has_begun(change):
    do = step("do", "boss", foreach=ForEach(items=["a", "b"]), on_failure=FailurePolicy.CONTINUE)
    story = Story(step("boss", on_failure=FailurePolicy.CONTINUE), do)
    story.tell(failed("boss"), ok("do[0]"), failed("do[1]"))
    record_end(story.run)
    state = json.loads(json.dumps(snapshot.save(story.run)))
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=state)
    story.run, _ = reopen(word, at_ms=BEGIN_MS)
    story.tell(ok("boss", attempt=2, amendment=Amendment(**change)))
    assert [problem.code for problem in story.run.steps["boss"].rejected] == ["step_begun"]
    story.tell(ok("do[1]", attempt=2))
    assert story.end.outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize(
    "facts",
    [
        [],
        [accepted()],
        [accepted(), ok("w1")],
        [rejected()],
        [CANCEL],
        [accepted(), CANCEL],
    ],
    ids=len,
)
def test_an_amended_run_comes_back_from_its_snapshot(facts):
    story = managed()
    story.tell(*facts)
    loaded = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(story.run))))
    assert plain(loaded) == plain(story.run)
    owed = [message_for(story.run, d) for d in story.run.owed.values()]
    assert [message_for(loaded, d) for d in loaded.owed.values()] == owed


def test_removed_replaced_and_rejected_steps_come_back_from_a_snapshot():
    story = Story("a", "boss", "c<a", "d<c", "chief", "e<a,boss")
    story.tell(asked(remove=["c"], replace=[step("d", "boss")]), accepted())
    story.tell(asked("chief", remove=["a"]))
    loaded = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(story.run))))
    assert plain(loaded) == plain(story.run)


@pytest.mark.parametrize("replaces", [False, True])
def test_thousands_of_steps_are_taken_out_at_a_cost_that_grows_as_they_do(replaces):
    """Taken out of the heap and of each other one by one, this takes 2.5 s."""
    names = [f"x{number}" for number in range(9_999)]
    story = Story("first", *(f"{name}<first" for name in names), max_parallel=1)
    story.tell(ok("first"))
    assert len(story.run.ready) == len(names) - 1  # the other one is at work
    anew = {"replace": [step(name) for name in reversed(names[1:])]} if replaces else {}
    story.tell(asked("x0", **(anew or {"remove": names[:0:-1]})))
    began = time.process_time()
    story.tell(accepted("x0"))
    assert time.process_time() - began < 1  # 0.06 s on a calm machine
    left = set(story.phases().values())
    assert left == ({"done", "ready", "released"} if replaces else {"done", "cancelled"})
    assert story.run.steps["first"].dependents == [1]
