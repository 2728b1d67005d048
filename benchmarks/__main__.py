"""Run the benchmark: `python -m benchmarks [--quick] [--only pace|burst|plans|…]`."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from starlings.broker import VERSION
from starlings.messages import Topics

from . import floor, measures, shares
from .agent import AGENT
from .diary import DIARY
from .driver import Driver
from .report import PlanTimes, Report, Sample, costs, disturbed, missed, render
from .system import System, check_fresh, lay_out, own_broker, running, usage
from .takeover import CASES, Case, Takeover, takeover, typical

ALL = ("pace", "burst", "plans", "restore", "takeover")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    turns: int = 7
    rounds: int = 500
    copies: int = 40_000
    hop_runs: int = 8
    runs: tuple[int, ...] = (200, 500)
    burst: int = 1_000
    plan: int = 5_000
    small_plan: int = 50
    small_plan_runs: int = 15
    open_runs: int = 20_000
    owed: int = 1_000
    takeovers: int = 3


QUICK = Size(
    turns=3, copies=30_000, hop_runs=4, runs=(200,), plan=1_000, open_runs=2_000, takeovers=1
)


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark, on one broker."""

    bootstrap: str
    broker_pid: int
    folder: Path
    size: Size
    only: tuple[str, ...]
    profile: Path | None

    async def run(self) -> Report:
        """Measure everything that was asked for."""
        await check_fresh(self.bootstrap)
        await floor.lay_out(self.bootstrap)
        report = Report()
        if set(self.only) & {"pace", "burst", "plans"}:
            await self._with_agent(report)
        if "restore" in self.only:
            await self._restore(report)
        if "takeover" in self.only:
            await self._takeovers(report)
        return report

    def _system(self, prefix: str) -> System:
        topics = Topics(prefix=prefix)
        return System(self.bootstrap, topics, folder=self.folder, profile=self.profile)

    async def _with_agent(self, report: Report) -> None:
        system = self._system("bench.")
        await lay_out(self.bootstrap, system.topics, AGENT)
        driver = Driver(self.bootstrap, system.topics)
        with running(system):
            for role in ("coordinator", "agent"):
                await system.start(role).ready()
            async with driver.at_work():
                await measures.run_s(driver, measures.chain(10), runs=100)  # warm
                if "pace" in self.only:
                    await self._pace(report, system, driver)
                if "burst" in self.only:
                    await self._burst(report, driver)
                if "plans" in self.only:
                    await self._plans(report, driver)

    async def _pace(self, report: Report, system: System, driver: Driver) -> None:
        for turn in range(self.size.turns):
            say(f"pace, turn {turn + 1} of {self.size.turns}")
            beside = await floor.measure(
                self.bootstrap, round_count=self.size.rounds, copy_count=self.size.copies
            )
            hops = await measures.hops_ms(driver, runs=self.size.hop_runs, length=50)
            rates = {
                runs: await self._rate(report, system, driver, runs) for runs in self.size.runs
            }
            report.samples.append(Sample(beside, hops, rates))

    async def _rate(self, report: Report, system: System, driver: Driver, runs: int) -> float:
        processes = {name: child.process.pid for name, child in system.children.items()}
        processes |= {"broker": self.broker_pid, "driver": os.getpid()}
        before = usage(processes)
        elapsed = await measures.run_s(driver, measures.chain(10), runs=runs)
        if runs == max(self.size.runs):
            report.costs.append(costs(before, usage(processes), steps=runs * 10, s=elapsed))
        return runs * 10 / elapsed

    async def _burst(self, report: Report, driver: Driver) -> None:
        say(f"1 → {self.size.burst:,} → 1")
        plan = measures.burst(self.size.burst)
        times = [await measures.run_s(driver, plan) for _ in range(self.size.turns)]
        report.burst_s, report.burst_width = statistics.median(times), self.size.burst

    async def _plans(self, report: Report, driver: Driver) -> None:
        large, small, runs = self.size.plan, self.size.small_plan, self.size.small_plan_runs
        say(f"plans of {large:,} steps")

        async def small_s(plan: bytes) -> float:
            return statistics.median([await measures.run_s(driver, plan) for _ in range(runs)])

        small_chain_s = await small_s(measures.chain(small))
        chain_s = await measures.run_s(driver, measures.chain(large))
        small_chain_s = (small_chain_s + await small_s(measures.chain(small))) / 2
        report.plans = PlanTimes(
            size=large,
            small_size=small,
            chain_s=chain_s / large,
            small_chain_s=small_chain_s / small,
            fan_out_s=await measures.run_s(driver, measures.fan_out(large)) / large,
            small_fan_out_s=await small_s(measures.fan_out(small)) / small,
        )

    async def _restore(self, report: Report) -> None:
        say(f"restore of {self.size.open_runs:,} open runs")
        system = self._system("restore.")
        await lay_out(self.bootstrap, system.topics, measures.OPEN_AGENT)
        driver = Driver(self.bootstrap, system.topics)
        with running(system):
            async with driver.at_work():
                report.restore = await measures.restore(
                    system, driver, open_runs=self.size.open_runs, owed=self.size.owed
                )

    async def _takeovers(self, report: Report) -> None:
        for number, case in enumerate(CASES):
            say(case.what)
            turns = [
                await self._takeover(case, f"takeover{number}.{turn}.")
                for turn in range(self.size.takeovers)
            ]
            report.takeovers.append(typical(turns))

    async def _takeover(self, case: Case, prefix: str) -> Takeover:
        system = self._system(prefix)
        await lay_out(self.bootstrap, system.topics, DIARY)
        driver = Driver(self.bootstrap, system.topics)
        with running(system):
            async with driver.at_work():
                return await takeover(system, driver, case, self.folder / f"{prefix}diary")


def say(what: str) -> None:
    """Tell what is being measured."""
    print(f"… {what}", file=sys.stderr, flush=True)


def machine() -> str:
    """Describe where this runs."""
    memory = psutil.virtual_memory().total / 2**30
    load = psutil.getloadavg()[0]
    return (
        f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, Apache Kafka {VERSION} on the same machine; "
        f"load before the start {load:.1f}"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of several")
    parser.add_argument(
        "--only", choices=ALL, action="append", help="measure only this; repeatable"
    )
    parser.add_argument("--profile", type=Path, help="folder for profiles of the processes")
    return parser.parse_args()


def main() -> int:
    """Measure, print the tables, and say by the exit code whether the marks are met."""
    asked = arguments()
    if asked.profile:
        asked.profile.mkdir(parents=True, exist_ok=True)
    # The client complains that topics made a moment ago have no leader yet; real trouble raises.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="starlings-bench-") as name:
        folder = Path(name)
        with own_broker(folder) as broker:
            bench = Bench(
                broker.bootstrap,
                broker.pid,
                folder,
                QUICK if asked.quick else Size(),
                tuple(asked.only or ALL),
                asked.profile.resolve() if asked.profile else None,
            )
            began = time.perf_counter()
            report = uvloop.run(bench.run())
    print(f"\n{render(report)}\n\ntook {time.perf_counter() - began:.0f} s")
    for file in sorted(asked.profile.glob("*.stacks")) if asked.profile else ():
        print(f"\nCPU time of the {file.stem} by module:", *shares.lines(file), sep="\n")
    marks, disturbance = missed(report), disturbed(report)
    if disturbance:
        print(f"\n{disturbance}")
    if marks:
        print(f"marks missed: {', '.join(marks)}")
    return 1 if marks else 0


if __name__ == "__main__":
    sys.exit(main())
