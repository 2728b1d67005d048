"""Variants of agents: larger ones that take over, canaries that get a share."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys

import pytest
from support import heavy
from support.asking import SLOW, facts_of, slow
from support.waiting import wait_until

from starlings.client import RunNotFound
from starlings.messages import (
    FailurePolicy,
    RunOutcome,
    RunRequested,
    StepDone,
    StepScheduled,
)

pytestmark = pytest.mark.kafka

HEAVY = f"{heavy.__file__}:heavy"
ROUTING = {"slow": {"canary": 0.5}}
WITHIN_S = 90.0


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need; the usual instance of `heavy` is each test's own."""
    system.spawn("coordinator")
    system.spawn("planner", env={"STARLINGS_ROUTING": json.dumps(ROUTING)})
    system.spawn(SLOW)
    system.spawn(SLOW, env={"STARLINGS_VARIANT": "canary"})
    system.spawn(HEAVY, env={"STARLINGS_VARIANT": "large"})
    system.wait_ready(*system.running)


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


async def test_a_step_whose_agent_was_killed_goes_on_at_a_larger_variant(system, client):
    (usual,) = system.start(HEAVY)
    step = {"id": "a", "agent": "heavy", "task": "lift", "timeouts": {"heartbeat_s": 3}}
    run = await client.submit(plan=[step])

    async def runs() -> bool:
        with contextlib.suppress(RunNotFound):
            view = await run.view()
            step = view.run.steps["a"] if view.run else None
            progress = view.traces["a"].progress if "a" in view.traces else None
            return step is not None and step.phase.value == "running" and progress is not None
        return False

    await wait_until(runs, timeout_s=WITHIN_S, message="the step runs and gives a sign of life")
    view = await run.view()
    assert view.traces["a"].progress == {"percent": 10}
    system.kill(usual)

    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "lifted by large")
    assert done.steps[0].attempts == 2
    (last,) = await facts_of(client, run.run_id, StepDone)
    assert (last.attempt, last.variant) == (2, "large")
    policy = view.plan.plan.steps[0].retry
    assert policy is not None  # the agent's own, since nobody said otherwise
    assert policy.escalate == ["default", "large"]


async def test_a_step_that_runs_out_of_memory_goes_on_at_a_larger_variant(system, client):
    (usual,) = system.start(HEAVY)
    run = await client.submit(plan=[{"id": "a", "agent": "heavy", "task": "much memory"}])

    done = await run.result(timeout_s=WITHIN_S)

    system.stop(usual)
    assert done.output == "lifted by large"
    first, second = await facts_of(client, run.run_id, StepDone)
    assert (first.error.code, first.variant) == ("resource_exhausted", None)
    assert second.variant == "large"


async def test_a_canary_gets_its_share_of_the_runs_and_each_run_stays_with_it(client):
    served = {}
    for number in range(10):
        run = await client.submit(plan=[slow("a"), slow("b", "a")], run_id=f"share-{number}")
        done = await run.result(timeout_s=WITHIN_S)
        assert done.outcome is RunOutcome.COMPLETED
        facts = await facts_of(client, run.run_id, StepDone)
        served[run.run_id] = {fact.variant for fact in facts}
        assert (await run.view()).plan.options.routing == ROUTING

    assert all(len(variants) == 1 for variants in served.values()), served
    drawn = [next(iter(variants)) for variants in served.values()]
    assert set(drawn) == {None, "canary"}  # by a hash of the runs' names: always the same


async def test_a_share_of_the_request_goes_before_the_planners(client):
    request = RunRequested(plan=[slow("a")], routing={"slow": {"canary": 1.0}})
    run = await client.submit_request(request)
    await run.result(timeout_s=WITHIN_S)
    (done,) = await facts_of(client, run.run_id, StepDone)
    assert done.variant == "canary"
    assert all(f.variant == "canary" for f in await facts_of(client, run.run_id, StepScheduled))


async def test_a_variant_that_nobody_serves_is_an_error_that_names_its_topic(system, client):
    request = RunRequested(
        plan=[slow("a")],
        routing={"slow": {"huge": 1.0}},
        on_failure=FailurePolicy.STOP,
    )
    run = await client.submit_request(request)
    done = await run.result(timeout_s=WITHIN_S)
    assert done.outcome is RunOutcome.FAILED
    assert done.steps[0].error.code == "unknown_agent"
    assert system.topics.steps("slow", "huge") in done.steps[0].error.message


async def test_shares_of_more_than_all_are_rejected(client):
    request = RunRequested(plan=[slow("a")], routing={"slow": {"canary": 0.9, "large": 0.2}})
    done = await (await client.submit_request(request)).result(timeout_s=WITHIN_S)
    assert done.outcome is RunOutcome.REJECTED
    assert done.problems[0].field == "routing.slow"


async def test_the_list_of_agents_shows_their_variants(system, client):
    async def known() -> bool:
        instances = (await client.registry()).instances()
        return {i.variant for i in instances if i.agent == "slow"} == {None, "canary"}

    await wait_until(known, timeout_s=WITHIN_S, message="both are in the registry")
    listed = await asyncio.to_thread(
        subprocess.run,
        (sys.executable, "-m", "starlings.cli", "agents"),
        env=system.env,
        cwd=system.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert "2 alive (1 canary)" in listed.stdout
