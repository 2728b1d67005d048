"""Attempts, back-off, and the timers of an attempt, all of them facts of the log."""

from __future__ import annotations

import pytest
from support.runs import BEGIN_MS, Story, cancelled, failed, ok, progress, started, step

from starlings.choreography import Change, DecisionKind, Ignored, message_for
from starlings.choreography.folding import LONGEST_S
from starlings.choreography.retries import LONGEST_RETRY_S
from starlings.messages import (
    RetryPolicy,
    RunOutcome,
    StepOutcome,
    StopRequested,
    Timeouts,
    TimerFired,
    TimerKind,
)

SLOW = Timeouts(queue_s=5, run_s=20, heartbeat_s=3)


def codes(story):
    return {name: s.error.code for name, s in story.run.steps.items() if s.error}


def test_a_retryable_failure_waits_longer_each_time_up_to_the_limit():
    story = Story("a", retry=RetryPolicy(attempts=5, initial_s=1, factor=3, max_s=5, jitter=0))
    waits = []
    for attempt in range(1, 5):
        story.tell(failed("a", attempt, retryable=True))
        waits.append(story.timers())
        change = story.fire(TimerKind.RETRY, "a")
        assert [d.id for d in change.decisions] == [f"r/a/{attempt + 1}/step_ready"]
    assert waits == [{"retry a": 1}, {"retry a": 3}, {"retry a": 5}, {"retry a": 5}]
    story.tell(failed("a", 5, retryable=True))
    assert story.end.outcome is RunOutcome.FAILED


def test_retry_after_of_the_error_prolongs_the_back_off_but_never_shortens_it():
    story = Story("a", "b", retry=RetryPolicy(initial_s=10, jitter=0))
    story.tell(failed("a", retryable=True, retry_after_s=42))
    story.tell(failed("b", retryable=True, retry_after_s=2))
    assert story.timers() == {"retry a": 42, "retry b": 10}


def test_a_failure_that_is_not_retryable_is_final_at_once():
    story = Story("a")
    story.tell(failed("a"))
    assert story.end.error is not None
    assert (story.end.error.code, story.end.error.message) == ("broken", "step 'a' failed: a broke")


def test_a_steps_own_retry_policy_counts_more_than_the_runs():
    story = Story(step("a", retry=RetryPolicy(attempts=1)), retry=RetryPolicy(attempts=9))
    story.tell(failed("a", retryable=True))
    assert story.end.outcome is RunOutcome.FAILED


def test_a_step_in_back_off_gives_its_place_to_another():
    story = Story("a", "b", max_parallel=1)
    assert story.phases() == {"a": "released", "b": "ready"}
    story.tell(failed("a", retryable=True))
    assert story.phases() == {"a": "backoff", "b": "released"}
    assert story.fire(TimerKind.RETRY, "a").decisions == ()
    assert story.phases() == {"a": "ready", "b": "released"}


def test_success_at_a_later_attempt_clears_the_error():
    story = Story("a")
    story.tell(failed("a", retryable=True))
    story.fire(TimerKind.RETRY, "a")
    story.tell(ok("a", 1, attempt=2))
    (summary,) = story.end.steps
    assert (summary.state, summary.attempts, summary.error) == ("done", 2, None)


def test_an_attempt_that_its_agent_gave_up_unasked_is_tried_again():
    story = Story("a")
    story.tell(cancelled("a"))
    assert story.phases() == {"a": "backoff"}
    assert codes(story) == {"a": "cancelled"}


def test_an_error_without_a_description_gets_one():
    story = Story("a")
    story.tell(failed("a").model_copy(update={"error": None, "outcome": StepOutcome.ERROR}))
    assert story.run.steps["a"].error is not None
    assert story.run.steps["a"].error.message == "the agent reported error"


def test_queue_timeout_runs_from_the_release_until_the_step_starts():
    story = Story("a", timeouts=SLOW)
    assert story.timers() == {"queue a": 5}
    story.tell(started("a"), at_s=4)
    assert story.timers() == {"run a": 24, "heartbeat a": 7}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (TimerKind.QUEUE, "queue_timeout"),
        (TimerKind.RUN, "run_timeout"),
        (TimerKind.HEARTBEAT, "heartbeat_timeout"),
    ],
)
def test_a_timeout_stops_the_attempt_and_is_retried(kind, code):
    story = Story("a", timeouts=SLOW)
    if kind is not TimerKind.QUEUE:
        story.tell(started("a"))
    change = story.fire(kind, "a")
    (stop,) = change.decisions
    message = message_for(story.run, stop)
    assert message == StopRequested(run_id="r", reason="timeout", attempts={"a": 1})
    assert (stop.id, codes(story)) == ("r/a/1/stop_requested", {"a": code})
    assert [key.kind for key in story.run.timers] == [TimerKind.RETRY]
    assert story.owed(DecisionKind.RELEASE) == []
    assert story.tell(ok("a")) == Ignored("the step is backoff")


def test_the_last_attempts_timeout_fails_the_step():
    story = Story("a", timeouts=SLOW, retry=RetryPolicy(attempts=1))
    story.fire(TimerKind.QUEUE, "a")
    assert story.end.error is not None
    assert story.end.error.code == "queue_timeout"


def test_a_sign_of_life_sets_the_heartbeat_anew_so_that_the_old_timer_is_ignored():
    story = Story("a", timeouts=SLOW)
    story.tell(started("a"))
    assert isinstance(story.tell(progress("a"), at_s=2), Change)
    old = TimerFired(
        run_id="r", kind=TimerKind.HEARTBEAT, step_id="a", attempt=1, due_ms=BEGIN_MS + 3_000
    )
    assert story.tell(old, at_s=3) == Ignored("the timer was set anew")
    assert story.timers() == {"run a": 20, "heartbeat a": 5}


def test_a_sign_of_life_that_nobody_waits_for_is_ignored():
    story = Story("a")
    story.tell(started("a"))
    assert story.tell(progress("a")) == Ignored("nobody waits for a sign of life")


def test_a_sign_of_life_says_that_the_step_has_started():
    story = Story("a", timeouts=SLOW)
    story.tell(progress("a"))
    assert story.phases() == {"a": "running"}
    assert story.timers() == {"run a": 20, "heartbeat a": 3}


def test_a_result_takes_all_timers_of_its_attempt_along():
    story = Story("a", "b", timeouts=SLOW)
    story.tell(started("a"), ok("a"))
    assert story.timers() == {"queue b": 5}


def test_a_timer_that_does_not_run_is_ignored():
    story = Story("a")
    fact = TimerFired(run_id="r", kind=TimerKind.RUN, step_id="a", attempt=1, due_ms=1)
    assert story.tell(fact) == Ignored("no such timer runs")


def test_a_steps_own_timeouts_count_more_than_the_runs():
    story = Story(step("a", timeouts=Timeouts(queue_s=1)), "b", timeouts=SLOW)
    assert story.timers() == {"queue a": 1, "queue b": 5}


@pytest.mark.parametrize("seconds", [1e300, 1e308])
def test_a_boundless_timeout_becomes_a_century(seconds):
    story = Story("a", timeout_s=seconds)
    assert story.timers() == {"deadline": LONGEST_S}


def test_a_provider_that_asks_for_years_is_asked_again_after_a_day():
    story = Story("a")
    story.tell(failed("a", retryable=True, retry_after_s=1e308))
    assert story.timers()["retry a"] == LONGEST_RETRY_S
