"""kill -9 in the middle of runs: they complete, with the right result, and no step ran twice."""

from __future__ import annotations

import pytest
from support.asking import (
    SLOW,
    effects,
    end_of,
    open_gate,
    slow,
    steps_committed,
    times_done,
)
from support.waiting import wait_until, wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

RUNS = 12
PLAN = [
    slow("a"),
    slow("b", "a", gate="open"),
    slow("c", "a"),
    slow("d", "b", "c", returns="the end"),
]


def until_began(services, step: str, times: int = 1):
    """Wait until a step has been begun so often."""
    wait_until_sync(
        lambda: sum(e.step_id == step for e in effects(services, what="began")) >= times,
        timeout_s=60,
        message=f"step {step} has been begun {times} times",
    )


async def test_a_killed_coordinator_is_followed_by_one_that_finishes_its_runs(services):
    services.start("coordinator", "planner", SLOW)
    async with services.client() as client:
        runs = [await client.submit(plan=PLAN) for _ in range(RUNS)]
        until_began(services, "b")
        services.kill("coordinator")
        open_gate(services, "open")  # results arrive while nobody coordinates
        services.start("coordinator")
        ends = [await run.result(timeout_s=60) for run in runs]

    assert {(done.outcome, done.output) for done in ends} == {(RunOutcome.COMPLETED, "the end")}
    done = times_done(services)
    assert len(done) == RUNS * len(PLAN)
    assert set(done.values()) == {1}


async def test_a_coordinator_killed_again_and_again_loses_and_repeats_nothing(services):
    services.start("coordinator", "coordinator", "planner", SLOW)
    plan = [slow("s0"), *(slow(f"s{n}", f"s{n - 1}", pause_s=0.2) for n in range(1, 12))]
    async with services.client() as client:
        runs = [await client.submit(plan=plan) for _ in range(RUNS)]
        for step, victim in (("s2", "coordinator"), ("s5", "coordinator-2")):
            until_began(services, step)
            services.kill(victim)
            services.start("coordinator")
        ends = [await run.result(timeout_s=90) for run in runs]

    assert {(done.outcome, done.output) for done in ends} == {(RunOutcome.COMPLETED, "s11")}
    done = times_done(services)
    assert len(done) == RUNS * len(plan)
    assert set(done.values()) == {1}


async def test_the_work_of_a_killed_agent_is_done_by_its_successor(services):
    (agent,) = services.start("coordinator", "planner", SLOW)[2:]
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until_began(services, "b")

        async def others_done() -> bool:
            return await steps_committed(services, "slow") == 2

        await wait_until(others_done, timeout_s=30, message="the ends of a and c are committed")
        services.kill(agent)
        services.start(SLOW)
        until_began(services, "b", times=2)  # whoever owned it is dead: it has to be begun again
        open_gate(services, "open")
    done = await end_of(services, run.run_id)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "the end")
    assert set(times_done(services).values()) == {1}
    begun = [effect.step_id for effect in effects(services, what="began")]
    assert sorted(begun) == ["a", "b", "b", "c", "d"]  # only what was at work was begun twice
    (again,) = (e for e in effects(services, what="did") if e.step_id == "b")
    assert again.attempt == 1  # not a failure of the step: the same attempt, somewhere else
