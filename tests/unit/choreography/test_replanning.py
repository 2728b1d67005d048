"""Planning a run anew: who asks, what is done about the answer, and what follows without one."""

from __future__ import annotations

import json

import pytest
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
    wanted,
)
from support.runs import CANCEL, Story, failed, ok, step
from support.sagas import Saga, did, undone

from starlings.choreography import (
    DecisionKind,
    Ignored,
    confirmation_for,
    confirmed_decision,
    message_for,
    reopen,
    snapshot,
)
from starlings.choreography.confirming import record_end
from starlings.choreography.standing import standing_problems
from starlings.messages import (
    Amendment,
    AmendmentProposed,
    Budget,
    PlanAmended,
    ReplanScheduled,
    RetryRequested,
    RunOutcome,
    TimerKind,
    Usage,
)

# -- asking ------------------------------------------------------------------------------------


def test_a_person_asks_and_the_planner_is_told_how_the_run_stands():
    story = Story("a", "b<a", "c<b")
    story.tell(ok("a", "A"), wanted("skip c"))
    ready = question(story)
    assert (ready.number, ready.text, ready.step_id) == (1, "skip c", None)
    assert [s.id for s in ready.plan.steps] == ["a", "b", "c"]
    assert [(s.state, s.summary, s.output) for s in ready.steps] == [
        ("done", "A", None),
        ("released", None, None),
        ("waiting", None, None),
    ]


def test_nothing_begins_while_the_planner_thinks_and_what_is_at_work_goes_on():
    story = Story("a", "b<a")
    story.tell(wanted(), ok("a"))
    assert story.phases() == {"a": "done", "b": "ready"}
    assert released(story) == []
    story.tell(proposed(remove=["b"], add=[step("d", "a")]))
    (decision,) = story.owed(DecisionKind.AMEND)
    fact = message_for(story.run, decision)
    assert (decision.id, fact.replan, fact.amendment.remove) == ("r/plan_amended/1", 1, ["b"])
    story.tell(fact)
    assert released(story) == ["d/1"]
    story.tell(ok("d", "D"))
    assert (story.end.outcome, story.end.output) == (RunOutcome.COMPLETED, "D")


def test_a_run_does_not_end_while_it_is_planned_anew():
    story = Story("a")
    story.tell(wanted(), ok("a"))
    assert story.owed(DecisionKind.END) == []
    story.tell(proposed(add=[step("b", "a")]), accepted(), ok("b", "B"))
    assert (story.end.outcome, story.end.output) == (RunOutcome.COMPLETED, "B")


def test_the_question_is_confirmed_by_its_own_fact():
    story = Story("a")
    story.tell(wanted())
    (decision,) = story.owed(DecisionKind.PLAN_ANEW)
    confirmation = confirmation_for(story.run, decision)
    assert confirmation is not None
    assert (confirmation.id, decision.id) == ("r/replan_scheduled/1", "r/replan_ready/1")
    assert confirmed_decision("replan_scheduled", confirmation.id) == decision.id
    assert confirmed_decision("replan_scheduled", "somebody's own") is None
    story.tell(confirmation.message)
    assert story.owed(DecisionKind.PLAN_ANEW) == []
    assert "nothing of that id" in story.tell(ReplanScheduled(run_id="r", number=1)).reason


def test_of_two_requests_the_second_is_judged_against_what_the_first_has_left():
    story = Story("a", "b<a", "c<a")
    story.tell(wanted("without b"), wanted("without b and c"))
    assert question(story).number == 1
    story.tell(proposed(remove=["b"]), accepted())
    ready = question(story)
    assert (ready.number, [s.id for s in ready.plan.steps]) == (2, ["a", "c"])
    story.tell(proposed(2, remove=["b", "c"]))
    assert refusals(story) == {"r/amendment_rejected/2": ["unknown_step"]}
    story.tell(rejected(2), ok("a"), ok("c"))
    assert story.run.replans_refused == {}
    assert story.end.outcome is RunOutcome.COMPLETED


def test_no_more_than_twenty_requests_wait():
    story = Story("a")
    story.tell(*[wanted(str(n)) for n in range(20)])
    assert "20 such requests" in story.tell(wanted()).reason


@pytest.mark.parametrize(
    "fact", [proposed(), accepted(), rejected(), ReplanScheduled(run_id="r", number=1)]
)
def test_answers_that_nobody_waits_for_are_ignored(fact):
    story = Story("a")
    assert story.tell(fact).reason


def test_answers_are_taken_once():
    story = Story("a", "b<a")
    story.tell(wanted(), proposed(remove=["b"]))
    assert "no other plan" in story.tell(proposed(add=[step("x")])).reason
    story.tell(accepted())
    assert "no such amendment" in story.tell(accepted()).reason
    assert sorted(story.run.steps) == ["a", "b"]


def test_a_request_for_a_run_that_is_stopping_is_ignored():
    story = Story("a", "b")
    story.tell(failed("a"))
    assert story.tell(wanted()).reason == "the run is stopping"


def test_what_the_planner_uses_counts_and_no_planner_is_asked_beyond_the_budget():
    story = Story("a", "b<a", budget=Budget(tokens=100))
    answer = proposed(add=[step("c")]).model_copy(update={"usage": Usage(input_tokens=200)})
    story.tell(wanted(), wanted("more"), answer, accepted())
    assert story.run.phase.value == "stopping"
    assert story.run.error.code == "budget_exceeded"


def test_the_planner_is_asked_once_amendments_of_steps_are_decided():
    story = Story("a", "b")
    story.tell(ok("a", amendment=Amendment(add=[step("c")])), wanted())
    assert story.owed(DecisionKind.PLAN_ANEW) == []
    story.tell(PlanAmended(run_id="r", step_id="a", attempt=1, amendment=Amendment()))
    assert [s.id for s in question(story).plan.steps] == ["a", "c", "b"]


# -- answers that are none ---------------------------------------------------------------------


def test_without_another_plan_a_run_that_a_person_wanted_changed_goes_on():
    story = Story("a", "b<a")
    none = AmendmentProposed(run_id="r", number=1, problems=[UNKNOWN])
    story.tell(wanted(), ok("a"), none)
    assert refusals(story) == {"r/amendment_rejected/1": ["unknown_agent"]}
    assert released(story) == ["b/1"]


def test_a_planner_that_does_not_answer_in_time_is_not_waited_for():
    story = Story("a", "b<a", replan_timeout_s=5)
    story.tell(wanted())
    assert story.timers()["replan"] == 5
    story.tell(ok("a"))
    story.fire(TimerKind.REPLAN)
    assert refusals(story) == {"r/amendment_rejected/1": ["replan_timeout"]}
    assert released(story) == ["b/1"]


def test_an_amendment_whose_agents_nobody_knows_is_given_up():
    story = Story("a", "b<a")
    story.tell(wanted(), proposed(add=[step("c")]), ok("a"), rejected())
    assert story.owed(DecisionKind.REJECT) == []
    assert released(story) == ["b/1"]
    assert "c" not in story.run.steps


@pytest.mark.parametrize(
    ("amendment", "code"),
    [
        ({"add": [step("b")]}, "duplicate_id"),
        ({"remove": ["nobody"]}, "unknown_step"),
        ({"invalidate": ["nobody"]}, "unknown_step"),
        ({"replace": [step("b", "c")]}, "cycle"),
        ({"remove": ["b"]}, "unknown_dependency"),
        ({"invalidate": ["loop[0]"]}, "item_of_list"),
        ({"invalidate": ["boss"]}, "step_has_amended"),
        ({"remove": ["c", "c"]}, "named_twice"),
        ({"replace": [step("c"), step("c")]}, "named_twice"),
    ],
)
def test_what_makes_no_sense_is_refused_with_every_reason(amendment, code):
    items = step("loop", foreach={"items": [1]})
    story = Story("a", "b<a", "c<b", items, "boss")
    story.tell(
        ok("boss", amendment=Amendment(add=[step("w")])),
        PlanAmended(run_id="r", step_id="boss", attempt=1, amendment=Amendment()),
        wanted(),
        proposed(**amendment),
    )
    assert refusals(story) == {"r/amendment_rejected/1": [code]}


def test_an_amendment_is_judged_again_when_it_is_applied():
    story = Story("a", "b")
    story.tell(wanted(), proposed(add=[step("c")]))
    story.tell(ok("a", amendment=Amendment(add=[step("c")])))
    story.tell(PlanAmended(run_id="r", step_id="a", attempt=1, amendment=Amendment()), accepted())
    assert refusals(story) == {"r/amendment_rejected/1": ["duplicate_id"]}


# -- the end of it -----------------------------------------------------------------------------


def test_a_run_that_is_cancelled_is_not_planned_anew_any_more():
    saga = hopeless()
    saga.tell(CANCEL, undone("a"))
    assert saga.end.outcome is RunOutcome.CANCELLED
    assert "no other plan" in saga.tell(proposed(invalidate=["b"])).reason


def test_an_end_in_the_log_ends_the_planning_too():
    saga = hopeless("a", "b<a")
    record_end(saga.run)
    state = json.loads(json.dumps(snapshot.save(saga.run)))
    fact = RetryRequested(run_id="r", generation=1, plan_offset=7, state=state)
    reopened = reopen(fact, at_ms=1)
    assert not isinstance(reopened, Ignored), reopened.reason
    assert reopened[0].replans == []


# -- the planner's own look at it ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("amendment", "codes"),
    [
        ({"replace": [step("b", "a")]}, []),
        ({"add": [step("gone")]}, ["duplicate_id"]),
        ({"add": [step("d")]}, ["failed_step_left"]),
        ({"remove": ["gone", "b"]}, ["unknown_step"]),
        ({"invalidate": ["a"]}, []),
    ],
)
def test_a_planner_judges_by_the_question_as_the_coordinator_does(amendment, codes):
    saga = Saga("a", "b<a", "c<b", "gone", "z<gone", on_failure=REPLAN, max_parallel=1)
    saga.tell(did("a", "A"), wanted(), proposed(remove=["gone", "z"]), accepted(), failed("b"))
    problems = standing_problems(question(saga), Amendment(**amendment))
    assert [problem.code for problem in problems] == codes
    saga.tell(proposed(2, **amendment))
    assert [code for told in refusals(saga).values() for code in told] == codes


def test_a_question_of_a_person_needs_no_failed_step_dealt_with():
    story = Story("a")
    story.tell(wanted())
    assert standing_problems(question(story), Amendment(add=[step("b")])) == []
