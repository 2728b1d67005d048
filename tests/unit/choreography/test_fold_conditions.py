"""Steps with conditions: who is skipped, who goes on, and what an error in a condition means."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.runs import BEGIN_MS, Story, failed, ok, step, steps_of, waits
from support.sagas import Saga, did

from starlings.choreography import DecisionKind, check_plan, message_for, refusal, reopen
from starlings.choreography.confirming import record_end
from starlings.choreography.context import refer
from starlings.choreography.skipping import skip_reason
from starlings.choreography.snapshot import save
from starlings.messages import (
    Condition,
    DependencyResult,
    FailurePolicy,
    Plan,
    RetryRequested,
    RunOutcome,
    SignalReceived,
    StepFailed,
    StepSkipped,
)

CONTINUE, SKIP = FailurePolicy.CONTINUE, FailurePolicy.SKIP_DEPENDENTS


def if_more(name: str, than: float, path: str = "") -> Condition:
    return Condition(value=f"{{{{steps.{name}.output{path}}}}}", more_than=than)


def branches(**more: object) -> Story:
    """Make a run that goes left or right, two steps each, and joins again."""
    return Story(
        "n",
        step("left", "n", when=if_more("n", 10)),
        step("left2", "left"),
        step("right", "n", when=Condition(none=[if_more("n", 10)])),
        step("right2", "right"),
        step("join", "left2", "right2"),
        **more,
    )


def test_a_branch_that_is_not_taken_is_skipped_to_its_end_and_the_join_runs():
    story = branches()
    change = story.tell(ok("n", 3))
    assert [d.id for d in change.decisions] == [
        "r/left/step_skipped",
        "r/left2/step_skipped",
        "r/right/1/step_ready",
    ]
    assert [message_for(story.run, d) for d in change.decisions[:2]] == [
        StepSkipped(
            run_id="r",
            step_id="left",
            reason="its condition does not hold: steps.n.output more than 10",
        ),
        StepSkipped(run_id="r", step_id="left2", reason="all that it depends on was skipped"),
    ]
    story.tell(ok("right"))
    story.tell(ok("right2", "R"))
    (release,) = story.owed(DecisionKind.RELEASE)
    left2, right2 = message_for(story.run, release).context
    assert (left2.skipped, left2.output, left2.error) == (True, None, None)
    assert (right2.skipped, right2.output) == (False, "R")
    assert b"skipped" not in right2.__pydantic_serializer__.to_json(right2)
    story.tell(ok("join", "end"))
    assert (story.end.outcome, story.end.output) == (RunOutcome.COMPLETED, "end")


@pytest.mark.parametrize(
    ("on_skipped", "phase"), [(None, "released"), ("run", "released"), ("skip", "skipped")]
)
def test_a_step_with_a_skipped_and_a_done_dependency_runs_unless_it_says_otherwise(
    on_skipped, phase
):
    off = step("off", "n", when=if_more("n", 10))
    story = Story("n", off, step("end", "off", "n", on_skipped=on_skipped))
    story.tell(ok("n", 1))
    assert story.phases()["end"] == phase
    if phase == "skipped":
        fact = message_for(story.run, story.owed(DecisionKind.SKIP)[-1])
        assert fact.reason == "something that it depends on was skipped"


def test_a_step_that_says_so_runs_though_all_before_it_was_skipped():
    off = step("off", "n", when=if_more("n", 10))
    story = Story("n", off, step("end", "off", on_skipped="run"))
    story.tell(ok("n", 1))
    assert story.phases() == {"n": "done", "off": "skipped", "end": "released"}


def test_a_run_whose_last_steps_were_not_to_be_done_is_completed():
    story = Story("n", step("off", "n", when=if_more("n", 10)))
    story.tell(ok("n", 1))
    end = story.end
    assert (end.outcome, end.output, end.error) == (RunOutcome.COMPLETED, 1, None)
    assert (end.steps[1].state, end.text) == ("skipped", "math: 1 | math: SKIPPED")
    record_end(story.run)
    assert refusal(story.run, step_id=None, compensation=False) == (
        "the run has no step that is not done"
    )


def test_a_condition_that_cannot_be_judged_fails_its_step_as_its_policy_says():
    story = Story("n", step("b", "n", when=if_more("n", 1, ".x")), "c<b", "d<n")
    story.tell(ok("n", 3))
    assert story.phases() == {"n": "done", "b": "failed", "c": "cancelled", "d": "cancelled"}
    assert (story.end.outcome, story.end.error.code) == (RunOutcome.FAILED, "template_unresolved")
    assert story.end.error.message == (
        "step 'b' failed: {{steps.n.output.x}} cannot be resolved: there is no 'x' in it"
    )


@pytest.mark.parametrize(("policy", "phase"), [(CONTINUE, "released"), (SKIP, "skipped")])
def test_what_depends_on_a_condition_in_error_goes_on_or_is_skipped(policy, phase):
    story = Story("n", step("b", "n", when=if_more("n", 1)), "c<b", "d<n", on_failure=policy)
    story.tell(ok("n", "many"))
    assert story.phases() == {"n": "done", "b": "failed", "c": phase, "d": "released"}


def test_a_failure_can_be_a_condition():
    fix = step("fix", "a", when=Condition(value="{{steps.a.state}}", equals="failed"))
    for fact, phase in ((failed("a"), "released"), (ok("a"), "skipped")):
        story = Story("a", fix, on_failure=CONTINUE)
        story.tell(fact)
        assert story.phases()["fix"] == phase


def test_a_long_chain_that_is_not_taken_is_skipped_at_once():
    names = [f"s{n}" for n in range(3_000)]
    chain = [f"{name}<{before}" for before, name in pairwise(names)]
    story = Story("n", step("s0", "n", when=if_more("n", 1)), *steps_of(*chain))
    story.tell(ok("n", 0))
    assert set(story.phases().values()) == {"done", "skipped"}
    assert story.end.outcome is RunOutcome.COMPLETED


def test_a_kept_signal_that_leads_to_a_condition_in_error_lets_what_was_done_be_undone():
    off = step("off", "paid", when=Condition(value="{{steps.paid.output.x}}", equals=1))
    saga = Saga("a", waits("paid", "a"), off)
    saga.tell(SignalReceived(run_id="r", name="payment", payload={}), did("a"))
    assert saga.undos() == ["a/1/1"]


def test_a_reopened_run_skips_again_what_is_not_to_be_done():
    off = step("off", "n", when=if_more("n", 10))
    story = Story("n", off, "off2<off", "b<n")
    story.tell(ok("n", 1), failed("b"))
    assert skip_reason(story.run, story.run.steps["off"]).startswith("its condition")
    record_end(story.run)
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=save(story.run))
    story.run, change = reopen(word, at_ms=BEGIN_MS)
    assert [d.id for d in change.decisions] == [
        "r/off/step_skipped/1",
        "r/off2/step_skipped/1",
        "r/b/2/step_ready",
    ]


def test_a_step_that_is_skipped_because_of_a_failure_names_it():
    story = Story("a", "b<a", on_failure=SKIP)
    story.tell(failed("a"))
    assert skip_reason(story.run, story.run.steps["b"]) == "a failed"


def test_an_index_of_thousands_of_digits_is_none_and_breaks_no_run():
    where = f"{{{{steps.a.output[{'1' * 5_000}]}}}}"
    off = step("off", "a", when=Condition(value=where, equals=1))
    (problem,) = check_plan(Plan(steps=[step("a"), off]))
    assert problem.code == "bad_reference"
    assert Story("a", off).end.outcome is RunOutcome.REJECTED
    told = DependencyResult(step_id="a", agent="math", output=[1], summary="")
    with pytest.raises(StepFailed, match="cannot read the path"):
        refer(where, {"a": told})
