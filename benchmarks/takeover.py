"""How long work stands still when a process dies or is restarted, and what is done twice.

200 chains of 10 steps are at work. A third of the way one process is killed (-9) or stopped, and,
where the case says so, started again at once. What is measured begins with the signal:

- *still*: the longest time in which no step was done;
- *all done*: until the last run has ended;
- *twice*: steps that were done again although their result was in the log when their process died.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from starlings.messages import StepDone

from .diary import DIARY, Entry, entries
from .driver import Driver
from .measures import chain
from .system import Child, System

RUNS, LENGTH = 200, 10
SESSION_S = 6.0
STOP_WITHIN_S = 10.0


@dataclass(frozen=True)
class Case:
    """Who is ended, how, and what happens then."""

    what: str
    role: str  # the child that is ended
    limit_s: float  # all runs have to be done by then, or have to go on by then
    kill: bool = True
    again: bool = True  # it is started again; else another one takes over
    static: bool = False
    keep: bool = False  # it keeps its seat when it is stopped

    def environment(self, name: str) -> dict[str, str]:
        """Say what its processes are told."""
        told = {"STARLINGS_SESSION_TIMEOUT_S": str(SESSION_S)}
        if self.static:
            told |= {"STARLINGS_STATIC_MEMBERSHIP": "true", "STARLINGS_INSTANCE": name}
        if self.keep:
            told |= {"STARLINGS_LEAVE_ON_STOP": "false"}
        return told


CASES = (
    Case("agent killed, another takes over", "diary", SESSION_S + 2, again=False),
    Case("agent stopped and started again", "diary", 2, kill=False),
    Case("coordinator stopped and started again", "coordinator", 2, kill=False),
    Case("static agent killed and started again", "diary", 2, static=True),
    Case("static coordinator killed and started again", "coordinator", 2, static=True),
)


@dataclass(frozen=True)
class Takeover:
    """What came of a case, in seconds since the signal."""

    case: Case
    still_s: float
    done_s: float
    left: int  # steps that were not done at the signal
    twice: int

    @property
    def met(self) -> bool:
        """Whether it stayed within its limit, and did nothing twice."""
        measured = self.still_s if self.case.static else self.done_s
        return measured <= self.case.limit_s and not self.twice


async def takeover(system: System, driver: Driver, case: Case, diary: Path) -> Takeover:
    """Play one case."""
    driver.finished.clear()
    env = {"BENCH_DIARY": str(diary)}
    victim = _start(system, case.role, case, env)
    others = {"coordinator", "diary"} - {case.role}
    rest = [_start(system, role, case, env) for role in others]
    if not case.again:
        rest.append(_start(system, case.role, case, env, name=f"{case.role}-2"))
    await asyncio.gather(*(child.ready() for child in (victim, *rest)))
    run_ids = driver.new_ids(RUNS)
    await driver.begin(run_ids, chain(LENGTH, DIARY))
    await driver.until(lambda: driver.seen[StepDone.NAME] >= RUNS * LENGTH // 3)
    at = await _end(victim, case)
    if case.again:
        _start(system, case.role, case, env)
    done_s = await driver.ended(run_ids) - at
    driver.check(run_ids)
    await asyncio.to_thread(system.stop)
    driver.seen.clear()
    return _judge(case, at, done_s, list(entries(diary)), driver)


def _start(system: System, role: str, case: Case, env: dict[str, str], *, name: str = "") -> Child:
    told = case.environment(name or role)
    return system.start(role, name=name, env={**env, **told})


async def _end(child: Child, case: Case) -> float:
    at = time.perf_counter()
    if case.kill:
        child.process.kill()
    else:
        child.process.terminate()
    await asyncio.to_thread(child.process.wait, STOP_WITHIN_S)
    return at


def _judge(case: Case, at: float, done_s: float, lines: list[Entry], driver: Driver) -> Takeover:
    times = [at, *sorted(line.at for line in lines if line.at > at)]
    by_step = Counter(line.result for line in lines)
    reports = Counter(step for steps in driver.finished.values() for step in steps)
    return Takeover(
        case=case,
        still_s=max((later - earlier for earlier, later in pairwise(times)), default=0.0),
        done_s=done_s,
        left=RUNS * LENGTH - sum(line.at <= at for line in lines),
        twice=sum(reports[step] > 1 for step, times_done in by_step.items() if times_done > 1),
    )


def typical(takeovers: list[Takeover]) -> Takeover:
    """Take the middle of several turns, and all that was done twice in any of them."""
    return Takeover(
        case=takeovers[0].case,
        still_s=statistics.median(one.still_s for one in takeovers),
        done_s=statistics.median(one.done_s for one in takeovers),
        left=round(statistics.median(one.left for one in takeovers)),
        twice=sum(one.twice for one in takeovers),
    )
