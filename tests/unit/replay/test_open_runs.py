"""Which open runs stand still, by their state alone."""

from __future__ import annotations

from support.runs import BEGIN_MS, asks, begin, ok, step

from starlings.choreography import fold
from starlings.messages import Plan, PlanCreated, RunOptions, StepStarted, Timeouts
from starlings.replay.open_runs import LATE_MS, Standstill, waits_for_people, why_stuck

HOUR_MS = 3_600_000


def begun(*steps, **options):
    planned = PlanCreated(run_id="r", plan=Plan(steps=list(steps)), options=RunOptions(**options))
    run, _ = begin(planned, offset=0, at_ms=BEGIN_MS)
    return run


def judged(run, *, after_ms, patience_ms=HOUR_MS):
    """Judge a run so long after all of its facts."""
    return why_stuck(run, now_ms=BEGIN_MS + after_ms, silent_ms=after_ms, patience_ms=patience_ms)


def at_work(**options):
    run = begun(step("a"), **options)
    started = StepStarted(run_id="r", step_id="a", attempt=1, agent="math", instance="i")
    fold(run, started, at_ms=BEGIN_MS)
    return run


def test_what_was_decided_and_is_not_in_the_log_a_minute_later_is_the_coordinator_s_fault():
    run = begun(step("a"))
    assert judged(run, after_ms=LATE_MS) is None
    why, said = judged(run, after_ms=LATE_MS + 1)
    assert why is Standstill.OWED
    assert said.startswith("1 decisions are not in the log (r/a/1/step_ready")


def test_a_step_without_a_timeout_may_be_silent_for_as_long_as_the_patience_lasts():
    run = at_work(timeouts=Timeouts(run_s=None))
    assert judged(run, after_ms=HOUR_MS) is None
    why, said = judged(run, after_ms=HOUR_MS + 1)
    assert (why, said) == (Standstill.SILENT, "no word of a (math), without a timeout")


def test_a_run_with_a_timer_that_is_still_to_come_goes_on_by_itself():
    run = at_work(timeouts=Timeouts(run_s=2 * 3_600))
    assert judged(run, after_ms=HOUR_MS + 1) is None


def test_a_timer_that_is_overdue_by_a_minute_means_that_nobody_coordinates():
    run = at_work(timeouts=Timeouts(run_s=10))
    assert judged(run, after_ms=10_000 + LATE_MS - 1) is None
    why, said = judged(run, after_ms=10_000 + LATE_MS + 1)
    assert why is Standstill.TIMER
    assert said.endswith("of step a is overdue")


def test_a_run_that_asks_people_waits_for_them_and_does_not_stand_still():
    run = begun(asks("ok"))
    run.owed.clear()  # the question is in the log
    assert waits_for_people(run)
    assert judged(run, after_ms=100 * HOUR_MS) is None


def test_a_run_in_which_a_step_has_ended_is_judged_by_what_is_left():
    run = begun(step("a"), step("b", "a"))
    fold(run, ok("a", 1), at_ms=BEGIN_MS)
    why, said = judged(run, after_ms=LATE_MS + 1)
    assert why is Standstill.OWED
    assert "r/b/1/step_ready" in said
