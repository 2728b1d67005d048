"""Releases follow dependencies and max_parallel; the end tells all steps and one text."""

from __future__ import annotations

from support.runs import BEGIN_MS, Story, ok, started, step

from starlings.choreography import (
    Change,
    DecisionKind,
    Ignored,
    RunPhase,
    Timer,
    TimerKey,
    confirm,
    confirmation_for,
    message_for,
    obligations,
)
from starlings.messages import (
    RunOutcome,
    StepReady,
    StepScheduled,
    TimerKind,
    Usage,
)


def ids(change):
    return [decision.id for decision in change.decisions]


def test_a_step_is_released_when_its_last_dependency_is_done():
    story = Story("a", "b", "c<a,b")
    assert ids(story.change) == ["r/a/1/step_ready", "r/b/1/step_ready"]
    assert ids(story.tell(ok("b", 2))) == []
    assert ids(story.tell(ok("a", 50))) == ["r/c/1/step_ready"]
    assert ids(story.tell(ok("c", 100))) == ["r/run_done"]


def test_work_carries_the_results_of_its_dependencies_in_the_order_of_the_plan():
    story = Story("a", "b", step("c", "b", "a", "b", input={"x": 1}))
    story.tell(ok("a", {"n": 50}), ok("b", "two", summary="the word count is 2"))
    (decision,) = story.owed(DecisionKind.RELEASE)
    ready = message_for(story.run, decision)
    assert isinstance(ready, StepReady)
    assert [(r.step_id, r.summary, r.output) for r in ready.context] == [
        ("b", "the word count is 2", "two"),
        ("a", '{"n": 50}', {"n": 50}),
    ]
    assert (ready.task, ready.input, ready.attempt) == ("do c", {"x": 1}, 1)


def test_the_end_lists_all_steps_in_plan_order_and_joins_their_summaries():
    story = Story("a", "b", "c<a,b")
    story.tell(ok("b", 2), ok("a", 50), at_s=1)
    story.tell(ok("c", 100), at_s=2.5)
    end = story.end
    assert (end.outcome, end.text) == (RunOutcome.COMPLETED, "math: 50 | math: 2 | math: 100")
    assert [(s.step_id, s.state, s.attempts) for s in end.steps] == [
        ("a", "done", 1),
        ("b", "done", 1),
        ("c", "done", 1),
    ]
    assert (end.output, end.error, end.duration_s) == (100, None, 2.5)


def test_a_long_output_is_shortened_for_the_summary_and_kept_for_the_result():
    story = Story("a")
    story.tell(ok("a", "x" * 1_000))
    assert len(story.end.steps[0].summary or "") == 300
    assert story.end.output == "x" * 1_000


def test_no_more_than_max_parallel_steps_are_out_and_plan_order_breaks_ties():
    story = Story("a", "b", "c", "d", max_parallel=2)
    assert ids(story.change) == ["r/a/1/step_ready", "r/b/1/step_ready"]
    story.tell(started("a"))
    assert story.run.out == 2
    assert ids(story.tell(ok("b"))) == ["r/c/1/step_ready"]
    assert ids(story.tell(ok("c"))) == ["r/d/1/step_ready"]


def test_a_confirmed_decision_is_owed_no_more_and_only_once():
    story = Story("a")
    (decision,) = story.owed(DecisionKind.RELEASE)
    confirmation = confirmation_for(story.run, decision)
    assert confirmation is not None
    assert confirmation.id == "r/a/1/step_scheduled"
    assert isinstance(confirmation.message, StepScheduled)
    assert story.tell(confirmation.message) == Change()
    assert list(obligations(story.run)[0]) == []
    assert story.tell(confirmation.message) == Ignored("nothing of that id is owed")
    assert isinstance(confirm(story.run, decision.id, at_ms=BEGIN_MS), Ignored)


def test_an_attempt_that_an_agent_has_touched_counts_as_published():
    story = Story("a", "b")
    story.tell(started("a"), ok("b"))
    assert story.owed(DecisionKind.RELEASE) == []


def test_obligations_name_decisions_and_timers():
    story = Story("a", timeout_s=60)
    decisions, timers = obligations(story.run)
    assert [d.id for d in decisions] == ["r/a/1/step_ready"]
    assert list(timers) == [Timer(TimerKey(TimerKind.DEADLINE), BEGIN_MS + 60_000)]
    assert story.change.timers == (Timer(TimerKey(TimerKind.DEADLINE), BEGIN_MS + 60_000),)


def test_usage_of_planner_and_steps_is_added_up():
    story = Story("a", "b")
    story.tell(ok("a", usage=Usage(calls=2, input_tokens=100, output_tokens=7)), ok("b"))
    assert story.end.usage == Usage(calls=3, input_tokens=110, output_tokens=12)


def test_costs_are_summed_exactly_and_left_out_where_no_price_is_known():
    story = Story("a", "b", "c", "d")
    story.tell(ok("a", usage=Usage(calls=1)))
    assert b"cost_usd" not in story.run.used().__pydantic_serializer__.to_json(story.run.used())
    story.tell(*(ok(name, usage=Usage(cost_usd=0.1)) for name in "bcd"))
    assert story.end.usage.cost_usd == 0.3


def test_calls_whose_price_is_unknown_are_counted_apart():
    story = Story("a", "b")
    story.tell(ok("a", usage=Usage(calls=3, unpriced_calls=2)), ok("b", usage=Usage(calls=1)))
    assert story.end.usage.unpriced_calls == 2


def test_usage_below_nothing_counts_as_nothing():
    story = Story("a")
    story.tell(ok("a", usage=Usage(input_tokens=-1_000, output_tokens=-1)))
    assert story.end.usage == Usage(calls=1, input_tokens=10, output_tokens=5)


def test_usages_are_summed_with_the_model_that_answered_last():
    both = Usage(model="a", calls=1, cost_usd=0.1).plus(Usage(model="b", cost_usd=0.2))
    assert both == Usage(model="b", calls=1, cost_usd=0.3)
    assert Usage(model="a", cost_usd=1).plus(Usage()) == Usage(model="a", cost_usd=1)
    assert both.plus(None) is both


def test_the_run_ends_when_its_end_is_in_the_log_and_history_wins():
    story = Story("a", "b")
    end = story.end if story.run.outcome else None
    assert end is None
    story.tell(ok("a", 1), ok("b", 2))
    told = story.end.model_copy(update={"outcome": RunOutcome.FAILED})
    assert story.tell(told) == Change()
    assert (story.run.phase, story.run.outcome) == (RunPhase.ENDED, RunOutcome.FAILED)
    assert not story.run.owed
    assert not story.run.timers


def test_an_end_in_the_log_ends_a_run_that_this_code_would_go_on_with():
    story = Story("a")
    other = Story("a")
    other.tell(ok("a"))
    assert story.tell(other.end) == Change()
    assert story.run.phase is RunPhase.ENDED


def test_calls_without_a_price_are_counted_for_the_run():
    story = Story("a")
    story.tell(ok("a", usage=Usage(calls=1, unpriced_calls=2)))
    assert story.end.usage.unpriced_calls == 2
