"""Patterns of plans on a running system: conditions, lists, amendments, budgets."""

from __future__ import annotations

from typing import Any

import pytest
from support.asking import SLOW, facts_of, rejection, slow, texts_of

from starlings.messages import (
    AmendmentRejected,
    Budget,
    PlanAmended,
    RunOutcome,
    RunRequested,
    StepDone,
    StepReady,
    StepSkipped,
)

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", SLOW)


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


def when(value: str, **comparison: Any) -> dict[str, Any]:
    return {"value": f"{{{{steps.{value}}}}}", **comparison}


async def test_a_branch_that_is_not_taken_is_skipped_and_the_log_says_why(client):
    plan = [
        slow("n", returns=7),
        slow("few", "n") | {"when": when("n.output", at_most=3)},
        slow("few2", "few"),
        slow("many", "n") | {"when": when("n.output", more_than=3)},
        slow("end", "few2", "many", returns="end"),
    ]
    run = await client.submit(plan=plan)

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "end")
    assert [s.state for s in done.steps] == ["done", "skipped", "skipped", "done", "done"]
    skips = await facts_of(client, run.run_id, StepSkipped)
    assert [(s.step_id, s.reason) for s in skips] == [
        ("few", "its condition does not hold: steps.n.output at most 3"),
        ("few2", "all that it depends on was skipped"),
    ]


async def test_a_condition_over_a_value_that_is_not_there_fails_its_step(client):
    plan = [slow("n", returns={"a": 1}), slow("b", "n") | {"when": when("n.output.b", equals=1)}]
    run = await client.submit(plan=plan, on_failure="stop")

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.error.code) == (RunOutcome.FAILED, "template_unresolved")
    assert "{{steps.n.output.b}} cannot be resolved: there is no 'b' in it" in done.error.message
    assert await facts_of(client, run.run_id, StepReady) == []


async def test_a_run_ends_when_its_budget_is_used_up(client):
    plan = [slow("a", tokens=60), slow("b", "a", tokens=60), slow("c", "b")]
    run = await client.submit(plan=plan, on_failure="stop", budget=Budget(tokens=100))

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.error.code) == (RunOutcome.FAILED, "budget_exceeded")
    assert "120 of 100 tokens" in done.error.message
    assert [s.state for s in done.steps] == ["done", "done", "cancelled"]
    assert done.usage.output_tokens == 120


async def test_a_budget_of_nothing_is_refused_with_the_request(system):
    request = RunRequested(plan=[slow("a")], budget=Budget(tokens=0))

    done = await rejection(system, request)

    assert "budget.tokens: the budget is 0: no step could be done with that" in texts_of(done)


async def test_a_list_is_mapped_over_and_joined_in_order(client):
    mapped = slow("do", "list", returns="{{item.name}} is {{index}}")
    plan = [
        slow("list", returns={"names": [{"name": f"n{number}"} for number in range(20)]}),
        mapped | {"foreach": {"items": "{{steps.list.output.names}}", "max_parallel": 5}},
        slow("end", "do", returns="{{steps.do.output[19]}}"),
    ]
    run = await client.submit(plan=plan)

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "n19 is 19")
    assert done.steps[1].output == [f"n{number} is {number}" for number in range(20)]
    names = {fact.step_id for fact in await facts_of(client, run.run_id, StepDone)}
    assert names == {"list", "end", *(f"do[{number}]" for number in range(20))}


async def test_lists_that_make_no_sense_are_refused_or_fail_their_step(system, client):
    too_long = RunRequested(plan=[slow("do") | {"foreach": [0] * 100_000}])
    refused = texts_of(await rejection(system, too_long))
    assert "foreach: 100,000 items; the limit is 10,000 in a run" in refused

    mapped = slow("do", "list") | {"foreach": "{{steps.list.output}}"}
    for returns, outcome, code in (
        ("no list", RunOutcome.FAILED, "foreach_not_a_list"),
        ([0] * 10_001, RunOutcome.FAILED, "too_many_items"),
        ([], RunOutcome.COMPLETED, None),
    ):
        run = await client.submit(plan=[slow("list", returns=returns), mapped], on_failure="stop")
        done = await run.result(timeout_s=WITHIN_S)
        assert (done.outcome, done.error and done.error.code) == (outcome, code)


async def test_a_manager_adds_workers_and_what_follows_waits_for_them(client):
    workers = [slow(f"w{number}", "boss", returns=number) for number in range(3)]
    plan = [slow("boss", adds=workers), slow("report", "boss", returns="told")]
    run = await client.submit(plan=plan)

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "told")
    assert [s.step_id for s in done.steps] == ["boss", "w0", "w1", "w2", "report"]
    facts = await facts_of(client, run.run_id)
    order = [f.step_id for f in facts if isinstance(f, StepDone | PlanAmended)]
    assert order[:2] == ["boss", "boss"]
    assert order[-1] == "report"


async def test_an_amendment_for_an_agent_that_is_not_there_is_rejected_and_the_run_goes_on(client):
    nobody = {"id": "w", "agent": "nobody", "task": "x"}
    for adds, code in (([nobody], "unknown_agent"), ([slow("w", "report")], "cycle")):
        plan = [slow("boss", adds=adds), slow("report", "boss", returns="told")]
        run = await client.submit(plan=plan)

        done = await run.result(timeout_s=WITHIN_S)

        assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "told")
        (rejected,) = await facts_of(client, run.run_id, AmendmentRejected)
        assert [problem.code for problem in rejected.problems] == [code]
        assert await facts_of(client, run.run_id, PlanAmended) == []
