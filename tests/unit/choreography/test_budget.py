"""The budget of a run: tokens, money and time, looked at before each step is made ready."""

from __future__ import annotations

import pytest
from support.runs import BEGIN_MS, Story, failed, ok, started, step, waits
from support.sagas import Saga, did, undone

from starlings.choreography import DecisionKind, check_plan, reopen
from starlings.choreography.budget import spendings
from starlings.choreography.confirming import record_end
from starlings.choreography.snapshot import save
from starlings.messages import (
    Budget,
    Plan,
    RetryPolicy,
    RetryRequested,
    RunOptions,
    RunOutcome,
    SignalReceived,
    Step,
    Timeouts,
    TimerKind,
    Usage,
)

PLANNING = 15  # tokens that the plan of a story has cost


def used(tokens: int = 0, **more: object) -> Usage:
    return Usage(output_tokens=tokens, **more)


def test_a_run_that_has_used_its_tokens_up_makes_no_further_step_ready():
    story = Story("a", "b<a", budget=Budget(tokens=100 + PLANNING))
    story.tell(ok("a", usage=used(100)))
    assert story.phases() == {"a": "done", "b": "cancelled"}
    assert (story.end.outcome, story.end.error.code) == (RunOutcome.FAILED, "budget_exceeded")
    assert story.end.error.message == (
        "the budget of the run is used up (115 of 115 tokens): give it more, or less to do"
    )


def test_one_token_that_is_left_is_enough_to_go_on_and_an_end_is_no_step():
    story = Story("a", "b<a", budget=Budget(tokens=100 + PLANNING))
    story.tell(ok("a", usage=used(99)), ok("b", usage=used(9_000)))
    assert story.end.outcome is RunOutcome.COMPLETED


def test_the_cost_is_counted_to_a_billionth_and_all_limits_are_told():
    story = Story("a", "b<a", "c<b", budget=Budget(cost_usd=0.3, tokens=1_000, wall_time_s=60))
    story.tell(ok("a", usage=used(5, cost_usd=0.1)), ok("b", usage=used(5, cost_usd=0.2)), at_s=2)
    assert "(25 of 1,000 tokens, $0.3 of $0.3, 2 of 60 s)" in story.end.error.message


def test_calls_without_a_known_price_cost_nothing_and_are_told_of():
    story = Story("a", "b<a", "c<b", budget=Budget(cost_usd=0.3))
    story.tell(ok("a", usage=used(5, calls=2, unpriced_calls=2)))
    assert story.phases()["b"] == "released"
    story.tell(ok("b", usage=used(5, cost_usd=0.3)))
    assert "($0.3 of $0.3 and 2 calls without a known price)" in story.end.error.message


def test_the_wall_time_forbids_new_steps_and_leaves_those_at_work_alone():
    story = Story("a", "b", "c<a", budget=Budget(wall_time_s=60))
    story.tell(ok("a"), at_s=61)
    assert story.phases() == {"a": "done", "b": "released", "c": "cancelled"}
    story.tell(ok("b"), at_s=62)
    assert "61 of 60 s" in story.end.error.message


def test_a_step_for_which_there_is_no_place_yet_waits_and_is_not_made_ready_later():
    story = Story("a", "b", "c", max_parallel=2, budget=Budget(tokens=100))
    story.tell(ok("a", usage=used(100)))
    assert story.phases() == {"a": "done", "b": "released", "c": "cancelled"}


def test_another_attempt_needs_budget_as_well():
    story = Story("a", budget=Budget(tokens=100))
    late = failed("a", retryable=True).model_copy(update={"usage": used(100)})
    story.tell(late)
    story.fire(next(iter(story.run.timers)).kind, "a")
    assert (story.phases(), story.end.error.code) == ({"a": "cancelled"}, "budget_exceeded")


@pytest.mark.parametrize(("late", "tokens"), [(ok, 0), (did, 70)])
def test_an_attempt_that_was_given_up_is_counted_only_where_its_result_still_counts(late, tokens):
    saga = Saga(step("a", timeouts=Timeouts(run_s=1)), retry=RetryPolicy(initial_s=0))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    before = saga.run.used().output_tokens
    saga.tell(late("a", "late").model_copy(update={"usage": used(70)}))
    assert saga.run.used().output_tokens == before + tokens


def test_what_was_done_is_undone_without_regard_to_the_budget():
    saga = Saga("a", "b<a", budget=Budget(tokens=100))
    change = saga.tell(did("a").model_copy(update={"usage": used(500)}))
    assert [d.kind for d in change.decisions] == [DecisionKind.UNDO]
    saga.tell(undone("a"))
    assert (saga.end.outcome, saga.end.error.code) == (RunOutcome.COMPENSATED, "budget_exceeded")


def test_a_step_that_waits_is_not_asked_for_either_and_a_kept_signal_changes_nothing():
    story = Story("a", waits("paid", "a"), budget=Budget(tokens=100))
    word = SignalReceived(run_id="r", name="payment", payload=1)
    story.tell(word, ok("a", usage=used(100)))
    assert story.phases() == {"a": "done", "paid": "cancelled"}


def test_a_run_that_is_reopened_has_its_budget_anew():
    story = Story("a", "b<a", budget=Budget(tokens=100, wall_time_s=60))
    story.tell(ok("a", usage=used(200)), at_s=1)
    record_end(story.run)
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=save(story.run))
    story.run, _ = reopen(word, at_ms=BEGIN_MS + 3_600_000)
    assert story.phases() == {"a": "done", "b": "released"}
    assert story.run.used().output_tokens == 205


@pytest.mark.parametrize(
    ("budget", "field", "said"),
    [
        (Budget(tokens=0), "budget.tokens", "the budget is 0: no step could be done with that"),
        (Budget(cost_usd=-0.5), "budget.cost_usd", "the budget is -0.5"),
        (Budget(wall_time_s=0.0), "budget.wall_time_s", "the budget is 0:"),
        (Budget(), "budget", "the budget limits nothing"),
    ],
)
def test_a_budget_that_allows_nothing_or_everything_is_refused(budget, field, said):
    plan = Plan(steps=[Step(id="a", agent="m", task="x")])
    (problem,) = check_plan(plan, options=RunOptions(budget=budget))
    assert (problem.code, problem.field) == ("bad_budget", field)
    assert said in problem.message


def test_a_run_without_a_budget_has_no_limits_to_tell_of():
    assert list(spendings(Story("a").run, BEGIN_MS)) == []


def test_a_good_budget_is_no_problem():
    plan = Plan(steps=[Step(id="a", agent="m", task="x")])
    assert check_plan(plan, options=RunOptions(budget=Budget(tokens=1, cost_usd=0.01))) == []


def test_counts_that_nobody_can_have_used_are_told_all_the_same():
    story = Story("a", "b<a", "c", budget=Budget(tokens=10**16))
    absurd = Usage(input_tokens=10**4_299, output_tokens=-5, unpriced_calls=10**4_299)
    story.tell(ok("a", usage=absurd), ok("b", usage=absurd))
    assert story.run.used().input_tokens == 2 * 10**15 + 10
    story.tell(ok("c", usage=absurd))
    assert len(story.end.as_json()) < 2_000


def test_costs_that_add_up_to_more_than_can_be_told_let_the_run_end():
    story = Story("a", "b", budget=Budget(cost_usd=1e12))
    dear = Usage(cost_usd=1e9)
    story.tell(ok("a", usage=dear), ok("b", usage=dear))
    assert (story.end.outcome, story.end.usage.cost_usd) == (RunOutcome.COMPLETED, 1e9)
    assert dear.plus(dear).cost_usd == 1e9


def test_a_state_with_absurd_numbers_breaks_no_run():
    story = Story("a", "b<a", budget=Budget(cost_usd=1))
    story.tell(ok("a"), failed("b"))
    record_end(story.run)
    state = save(story.run) | {"usage": {"cost_nano_usd": 10**4_200}}
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=state)
    story.run, _ = reopen(word, at_ms=BEGIN_MS)
    story.tell(ok("b", attempt=2))
    assert story.end.outcome is RunOutcome.COMPLETED
