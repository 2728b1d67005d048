"""The Python client against a running system: ask, watch, cancel, look back."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from support.asking import SLOW, effects, open_gate, slow
from support.waiting import wait_until

from starlings.client import Client, RunNotFound
from starlings.kafka.connection import KafkaSettings
from starlings.messages import (
    ConfigError,
    FailurePolicy,
    PlanCreated,
    RetryPolicy,
    RunDone,
    RunOutcome,
    StepDone,
    StepStarted,
    Timeouts,
)
from starlings.service import ServiceSettings

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", SLOW)


@pytest.fixture
async def client(system):
    """A client of the running system."""
    async with system.client() as client:
        yield client


async def test_facts_come_in_the_order_of_the_log_and_end_with_the_runs_end(client):
    run = await client.submit(plan=[slow("a", pause_s=0.2), slow("b", "a")])

    facts = [fact async for fact in run.facts()]

    assert isinstance(facts[0], PlanCreated)
    assert isinstance(facts[-1], RunDone)
    assert [fact.step_id for fact in facts if isinstance(fact, StepDone)] == ["a", "b"]
    assert [fact.step_id for fact in facts if isinstance(fact, StepStarted)] == ["a"]
    assert facts == [fact async for fact in run.facts()]  # as often as one likes


async def test_a_run_is_asked_for_with_all_that_a_request_can_say(client):
    retry, timeouts = RetryPolicy(attempts=2), Timeouts(queue_s=50, run_s=40)
    run = await client.submit(
        plan=[slow("a")],
        retry=retry,
        timeouts=timeouts,
        undo_queue_s=70,
        routing={"other": {"canary": 0.5}},
    )
    await run.result(timeout_s=30)

    options = (await run.view()).run.options
    assert (options.retry, options.timeouts) == (retry, timeouts)
    assert options.undo_queue_s == 70


async def test_the_result_can_be_waited_for_with_a_bound_and_the_run_goes_on(system, client):
    run = await client.submit(plan=[slow("a", gate="later")])
    with pytest.raises(TimeoutError):
        await run.result(timeout_s=0.3)
    open_gate(system, "later")

    done = await run.result(timeout_s=30)

    assert (done.outcome, done.output, done.text) == (RunOutcome.COMPLETED, "a", "slow: a")


async def test_a_view_tells_how_a_run_stands(system, client):
    run = await client.submit("who cares", plan=[slow("a"), slow("b", "a", gate="view")])

    async def b_runs() -> bool:
        try:
            view = await run.view()
        except RunNotFound:
            return False  # the planner is at it
        return view.run.steps["b"].phase.value == "running"

    await wait_until(b_runs, timeout_s=30, message="b runs")
    view = await run.view()
    assert (view.status, view.run.steps["a"].phase.value) == ("running", "done")
    assert view.traces["b"].instance
    open_gate(system, "view")
    await run.result(timeout_s=30)
    assert (await run.view()).status == "completed"


async def test_anybody_can_watch_and_cancel_a_run_that_somebody_else_began(system, client):
    begun = await client.submit(plan=[slow("stays", gate="never"), slow("b", "stays")])
    async with system.client() as somebody:
        watching = asyncio.create_task(somebody.run(begun.run_id).result(timeout_s=30))
        await wait_until(
            lambda: any(e.run_id == begun.run_id for e in effects(system, what="began")),
            timeout_s=30,
            message="the step runs",
        )
        await somebody.run(begun.run_id).cancel("enough", requested_by="bob")
        done = await watching

    assert done == await begun.result(timeout_s=30)
    assert done.outcome is RunOutcome.CANCELLED
    assert done.error.message == "cancelled by bob: enough"
    assert [step.state for step in done.steps] == ["cancelled", "cancelled"]


async def test_the_same_run_id_gets_the_same_run(client):
    run_id = f"mine-{uuid.uuid4().hex[:8]}"
    first = await client.submit(plan=[slow("a")], run_id=run_id)
    done = await first.result(timeout_s=30)

    again = await client.submit(plan=[slow("b")], run_id=run_id)

    assert again.run_id == run_id
    assert await again.result(timeout_s=30) == done


async def test_runs_lists_what_the_log_holds_the_newest_last(client):
    before = datetime.now(UTC) - timedelta(seconds=1)
    runs = [
        await client.submit(f"number {n}", plan=[slow("a")], tags={"n": str(n)}) for n in range(3)
    ]
    ends = [await run.result(timeout_s=30) for run in runs]
    refused = await client.submit(plan=[])
    await refused.result(timeout_s=30)

    listed = await client.runs(since=before)

    mine = [run for run in listed if run.run_id in {r.run_id for r in runs}]
    assert {(run.request, run.tags["n"]) for run in mine} == {
        (f"number {n}", str(n)) for n in "012"
    }
    assert {(run.status, run.text, run.steps) for run in mine} == {("completed", ends[0].text, 1)}
    assert [run.began_ms for run in listed] == sorted(run.began_ms for run in listed)
    (rejected,) = [run for run in listed if run.run_id == refused.run_id]
    assert (rejected.status, rejected.steps) == ("rejected", 0)
    assert await client.runs(since=datetime.now(UTC) + timedelta(minutes=1)) == []


async def test_options_of_a_request_reach_the_run(client):
    run = await client.submit(
        plan=[slow("a"), slow("b")],
        max_parallel=1,
        on_failure=FailurePolicy.SKIP_DEPENDENTS,
        timeout_s=60,
    )
    await run.result(timeout_s=30)

    options = (await run.view()).plan.options

    assert (options.max_parallel, options.timeout_s) == (1, 60)
    assert options.on_failure is FailurePolicy.SKIP_DEPENDENTS


async def test_a_run_that_is_not_in_the_log_is_said_to_be_missing(client):
    with pytest.raises(RunNotFound, match="there is no run 'nobody' in the log; `starlings runs`"):
        await client.run("nobody").view()


async def test_the_registry_tells_who_is_there(client):
    registry = await client.registry()

    assert registry.alive() == {"slow"}
    assert registry.agents["slow"].description == "Takes its time"


async def test_without_topics_a_client_names_the_command(kafka):
    settings = ServiceSettings(topic_prefix=f"t{uuid.uuid4().hex[:12]}.")
    with pytest.raises(ConfigError, match="run `starlings topics ensure`"):
        async with Client(kafka=KafkaSettings(bootstrap=kafka.bootstrap), settings=settings):
            pass
