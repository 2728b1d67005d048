"""What a step that failed for good means for the others: stop, continue, skip dependents."""

from __future__ import annotations

from support.runs import Story, failed, ok, started, step

from starlings.choreography import DecisionKind, RunPhase, confirmation_for, message_for
from starlings.messages import (
    FailurePolicy,
    RunOutcome,
    StepReady,
    StepSkipped,
    Timeouts,
    TimerKind,
)

CONTINUE, SKIP, STOP = (
    FailurePolicy.CONTINUE,
    FailurePolicy.SKIP_DEPENDENTS,
    FailurePolicy.STOP,
)


def test_stop_ends_the_run_at_once_where_nothing_else_is_out():
    story = Story("a", "b<a", "c<b")
    story.tell(failed("a"))
    assert story.phases() == {"a": "failed", "b": "cancelled", "c": "cancelled"}
    end = story.end
    assert (end.outcome, end.text) == (
        RunOutcome.FAILED,
        "math: ERROR - a broke | math: CANCELLED | math: CANCELLED",
    )
    assert story.owed(DecisionKind.STOP) == []


def test_stop_waits_for_attempts_that_are_out_and_keeps_what_they_did():
    story = Story("a", "b", "c<b")
    change = story.tell(failed("a"))
    assert [d.id for d in change.decisions] == ["r/stop_requested"]
    assert story.run.phase is RunPhase.STOPPING
    change = story.tell(ok("b", 2))
    assert [d.id for d in change.decisions] == ["r/run_done"]
    assert story.phases() == {"a": "failed", "b": "done", "c": "cancelled"}
    assert story.end.outcome is RunOutcome.FAILED


def test_a_second_failure_while_stopping_settles_too_without_a_retry():
    story = Story("a", "b", "c<b")
    story.tell(failed("a"), failed("b", retryable=True))
    assert story.phases() == {"a": "failed", "b": "failed", "c": "cancelled"}
    assert story.end.error is not None
    assert story.end.error.message == "step 'a' failed: a broke"


def test_continue_lets_dependents_run_and_see_the_error():
    story = Story("a", "b<a", on_failure=CONTINUE)
    story.tell(failed("a"))
    (decision,) = story.owed(DecisionKind.RELEASE)
    ready = message_for(story.run, decision)
    assert isinstance(ready, StepReady)
    (result,) = ready.context
    assert result.error is not None
    assert (result.error.message, result.output) == ("a broke", None)
    story.tell(ok("b", 1))
    end = story.end
    assert (end.outcome, end.text) == (RunOutcome.PARTIAL, "math: ERROR - a broke | math: 1")
    assert end.error is not None
    assert end.error.code == "broken"


def test_a_run_in_which_nothing_succeeded_has_failed():
    story = Story("a", on_failure=CONTINUE)
    story.tell(failed("a"))
    assert story.end.outcome is RunOutcome.FAILED


def test_skip_dependents_skips_all_that_lies_behind_and_lets_the_rest_run():
    story = Story("a", "b<a", "c<b,a", "d", "e<d", on_failure=SKIP)
    change = story.tell(failed("a"))
    assert sorted(d.id for d in change.decisions) == ["r/b/step_skipped", "r/c/step_skipped"]
    story.tell(ok("d"), ok("e", "fine"))
    end = story.end
    assert [s.state for s in end.steps] == ["failed", "skipped", "skipped", "done", "done"]
    assert end.outcome is RunOutcome.PARTIAL
    assert "math: SKIPPED" in end.text


def test_a_skip_is_a_fact_of_its_own_that_confirms_itself():
    story = Story("a", "b<a", on_failure=SKIP)
    story.tell(failed("a"))
    (decision,) = story.owed(DecisionKind.SKIP)
    fact = message_for(story.run, decision)
    assert fact == StepSkipped(run_id="r", step_id="b", because="a")
    assert confirmation_for(story.run, decision) is None
    story.tell(fact)
    assert story.owed(DecisionKind.SKIP) == []


def test_a_skipped_step_is_not_released_when_its_other_dependency_comes_later():
    story = Story(step("a", on_failure=SKIP), step("b", on_failure=CONTINUE), "c<a,b")
    story.tell(failed("a"), failed("b"))
    assert story.phases() == {"a": "failed", "b": "failed", "c": "skipped"}


def test_a_continued_failure_before_a_skipping_one_still_skips():
    story = Story(step("a", on_failure=SKIP), step("b", on_failure=CONTINUE), "c<a,b")
    story.tell(failed("b"), failed("a"))
    assert story.phases() == {"a": "failed", "b": "failed", "c": "skipped"}


def test_a_steps_own_policy_counts_more_than_the_runs():
    story = Story(step("a", on_failure=CONTINUE), "b<a", step("c", "b", on_failure=STOP))
    story.tell(failed("a"), ok("b"), failed("c"))
    assert story.end.outcome is RunOutcome.FAILED
    assert story.phases() == {"a": "failed", "b": "done", "c": "failed"}


def test_a_step_with_skip_dependents_that_fails_while_stopping_skips_nothing_more():
    story = Story("a", step("b", on_failure=SKIP), "c<b")
    story.tell(failed("a"), failed("b"))
    assert story.phases() == {"a": "failed", "b": "failed", "c": "cancelled"}
    assert story.owed(DecisionKind.SKIP) == []


def test_a_timeout_while_stopping_settles_the_attempt():
    story = Story("a", "b", timeouts=Timeouts(run_s=2))
    story.tell(failed("a"), started("b"))
    story.fire(TimerKind.RUN, "b")
    assert story.phases() == {"a": "failed", "b": "failed"}
    assert story.end.outcome is RunOutcome.FAILED
