"""Runs that go on after their end: what counts, what is of the past, what is ignored."""

from __future__ import annotations

import pytest
from support.runs import BEGIN_MS, Story, failed, ok, step

from starlings.choreography import Change, Ignored, Recorded, reopen, retell
from starlings.choreography.outputs import run_done
from starlings.choreography.snapshot import save
from starlings.messages import Plan, PlanCreated, RetryRequested, RunOptions

PLAN = PlanCreated(
    run_id="r",
    plan=Plan(steps=[step("a"), step("b", "a"), step("c", "a")]),
    options=RunOptions(on_failure="stop"),
)


def recorded(*facts):
    return [Recorded(7 + n, BEGIN_MS + n, fact) for n, fact in enumerate(facts)]


def ended():
    """The facts of a run of which b failed, c was stopped."""
    facts = [PLAN, ok("a", 1), failed("b"), failed("c")]
    return [*facts, run_done(retell(recorded(*facts)))]


def retry(facts, **more):
    run = retell(recorded(*facts))
    given = {"run_id": "r", "generation": run.generation + 1, "plan_offset": 7, "state": save(run)}
    return RetryRequested(**{**given, **more})


def test_a_retelling_goes_on_across_ends():
    facts = ended()
    facts += [retry(facts), ok("b", 2, attempt=2), ok("c", 3, attempt=2)]

    run = retell(recorded(*facts))

    assert (run.generation, run_done(run).outcome) == (1, "completed")
    assert [run.steps[name].output for name in "abc"] == [1, 2, 3]


def test_of_two_retries_of_one_end_the_first_counts_in_a_retelling_too():
    facts = ended()
    first, second = retry(facts), retry(facts, step_id="b", input={"other": True})
    facts += [first, ok("b", 2, attempt=2), second]

    run = retell(recorded(*facts))

    assert (run.steps["b"].phase.value, run.steps["b"].spec.input) == ("done", None)


def test_a_run_whose_plan_is_gone_is_told_from_the_word_that_reopened_it():
    facts = ended()
    assert retell(recorded(retry(facts))).steps["b"].phase.value == "released"


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"version": 1},
        {"steps": [{}]},
        {"phase": "no such"},
        {"steps": "many"},
        {"undos": [{"step": 99}]},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_read_is_ignored(broken):
    state = {**save(retell(recorded(*ended()))), **broken} if broken else {}
    outcome = reopen(retry(ended(), state=state), at_ms=BEGIN_MS)
    assert isinstance(outcome, Ignored)


def test_a_state_that_contradicts_itself_is_ignored_although_it_can_be_read():
    state = save(retell(recorded(*ended())))
    state["steps"][1]["phase"] = "running"  # in a run that has ended

    outcome = reopen(retry(ended(), state=state), at_ms=BEGIN_MS)

    assert isinstance(outcome, Ignored)
    assert "cannot be read" in outcome.reason


def test_a_run_at_work_is_not_reopened():
    story = Story("a")
    fact = RetryRequested(run_id="r", generation=1, plan_offset=7, state=save(story.run))
    assert story.tell(fact) == Ignored("the run has not ended, it is running")
    assert isinstance(reopen(fact, at_ms=BEGIN_MS), Ignored)
    assert isinstance(story.tell(ok("a")), Change)
