"""What is measured, one function each; all times come from one monotonic clock.

A *hop* is the time from the end of a step's function to the beginning of the next one's: result
published, folded, next step released, fetched, started. It includes a little more than the path
from `step_done` to `step_ready`, so it errs on the honest side.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from starlings.messages import StepDone, StepOutcome, StepScheduled, attempt_id
from starlings.messages.plan import Step

from .agent import AGENT
from .driver import WAIT_S, Driver, plan_of
from .system import System

TASK = "tell when you ran, and nothing else"
OPEN_AGENT = "nobody"  # its topic exists, and no instance of it runs
RESTORE_WAIT_S = 180.0


def chain(length: int, agent: str = AGENT) -> bytes:
    """Plan steps that wait for each other, one after the other."""
    return plan_of(
        Step(id=f"s{n}", agent=agent, task=TASK, depends_on=[f"s{n - 1}"] if n else [])
        for n in range(length)
    )


def fan_out(width: int) -> bytes:
    """Plan one step that all others wait for."""
    return plan_of(
        Step(id=f"s{n}", agent=AGENT, task=TASK, depends_on=["s0"] if n else [])
        for n in range(width)
    )


def burst(width: int) -> bytes:
    """Plan 1 → width → 1."""
    wide = [f"w{n}" for n in range(width)]
    return plan_of(
        [
            Step(id="first", agent=AGENT, task=TASK),
            *(Step(id=name, agent=AGENT, task=TASK, depends_on=["first"]) for name in wide),
            Step(id="last", agent=AGENT, task=TASK, depends_on=wide),
        ]
    )


async def hops_ms(driver: Driver, *, runs: int, length: int) -> list[float]:
    """Measure hops with one run in flight, in order of size."""
    plan, hops = chain(length), []
    for run_id in driver.new_ids(runs):
        await driver.begin([run_id], plan)
        await driver.ended([run_id])
        driver.check([run_id])
        spans = [step["output"] for step in json.loads(driver.results[run_id])["steps"]]
        hops += [(spans[n + 1][0] - spans[n][1]) * 1000 for n in range(length - 1)]
    return sorted(hops)


async def run_s(driver: Driver, plan: bytes, *, runs: int = 1) -> float:
    """Measure the seconds from the first plan published to the last run ended."""
    run_ids = driver.new_ids(runs)
    began = time.perf_counter()
    await driver.begin(run_ids, plan)
    elapsed = await driver.ended(run_ids) - began
    driver.check(run_ids)
    return elapsed


@dataclass(frozen=True)
class Restore:
    """How a coordinator came back after a kill, in seconds since the start of the new one.

    `read_s` is the part from its assignment to the end of the log, folded. The rest is the start of
    Python, and the wait of the group for the session of the killed one to run out.
    """

    open_runs: int
    owed: int
    read_s: float
    ready_s: float
    published_s: float
    clean_ready_s: float


async def restore(system: System, driver: Driver, *, open_runs: int, owed: int) -> Restore:
    """Kill a coordinator that knows many open runs, and start it again.

    While it is dead, `owed` results arrive, so that it owes as many ends of runs.
    """
    coordinator = system.start("coordinator")
    await coordinator.ready()
    run_ids = driver.new_ids(open_runs)
    await driver.begin(run_ids, chain(1, OPEN_AGENT))
    await driver.until(lambda: driver.seen[StepScheduled.NAME] >= open_runs)
    coordinator.kill()
    settled = run_ids[:owed]
    for run_id in settled:
        done = StepDone(
            run_id=run_id, step_id="s0", attempt=1, agent=OPEN_AGENT, outcome=StepOutcome.OK
        )
        await driver.report(done, attempt_id(run_id, "s0", 1, StepDone.NAME))
    await driver.flush()
    coordinator = system.start("coordinator")
    ready_s = await coordinator.ready(RESTORE_WAIT_S)
    published_s = await driver.ended(settled, WAIT_S) - coordinator.started
    coordinator.stop()
    assigned = max(coordinator.logged("partitions assigned"))
    recovered = max(coordinator.logged("partition recovered"))
    coordinator = system.start("coordinator")
    return Restore(
        open_runs=open_runs,
        owed=owed,
        read_s=recovered - assigned,
        ready_s=ready_s,
        published_s=published_s,
        clean_ready_s=await coordinator.ready(RESTORE_WAIT_S),
    )
