"""How much of everything a rate of steps takes, from what a step was measured to cost.

`python -m benchmarks.sizing` prints it for 10, 1,000 and 100,000 steps a second. The cost of a step
is read from the page of measurements (`docs/performance.md`, printed by `make bench`), so the table
follows when that is measured anew; `--write` puts it into `docs/operations.md`.

It is arithmetic, and its assumptions are its options: nothing here was run at 100,000 steps/s.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "docs" / "performance.md"
PAGE = ROOT / "docs" / "operations.md"
RATES = (10, 1_000, 100_000)
BEGIN, END = "<!-- sizing: begin -->\n", "<!-- sizing: end -->\n"
DAY_S = 86_400
GIB = 1 << 30
GIB_IN_TIB = 1024
LEAST_PARTITIONS = 4


@dataclass(frozen=True)
class Costs:
    """CPU seconds that one step takes of each kind of process."""

    coordinator: float
    agent: float
    broker: float


@dataclass(frozen=True)
class Assumptions:
    """What nobody can measure for others."""

    busy: float = 0.6  # share of a core that a process of ours shall use
    broker_busy: float = 0.4
    broker_cores: int = 8
    copies: int = 3
    room: int = 2  # partitions for each process, so that there may be twice as many
    step_s: float = 1.0  # how long a step takes
    concurrency: int = 100  # steps at once in one instance of an agent
    step_bytes: int = 1_000  # of facts about a step, before compression
    packed: float = 0.25  # what compression leaves of it
    kept_days: int = 30  # retention of events; work is kept for a quarter of that


@dataclass(frozen=True)
class Size:
    """What a rate takes."""

    rate: int
    coordinators: int
    event_partitions: int
    agents: int
    step_partitions: int
    brokers: int
    disk_gib: float

    def row(self) -> str:
        """Write it as a row of the table."""
        tib = self.disk_gib / GIB_IN_TIB
        disk = f"{tib:,.1f} TiB" if tib >= 1 else f"{self.disk_gib:,.1f} GiB"
        return (
            f"| {self.rate:,} | {self.coordinators:,} | {self.event_partitions:,} | "
            f"{self.agents:,} | {self.step_partitions:,} | {self.brokers:,} | {disk} |"
        )


def read_costs(figures: str) -> Costs:
    """Read the measured cost out of what `make bench` has printed."""
    found = dict(re.findall(r"^(coordinator|agent|broker) +(\d+\.\d+) ", figures, re.MULTILINE))
    missing = {"coordinator", "agent", "broker"} - found.keys()
    if missing:
        raise SystemExit(f"no cost per 1,000 steps of {', '.join(sorted(missing))} in the figures")
    return Costs(**{name: float(seconds) / 1000 for name, seconds in found.items()})


def size(rate: int, costs: Costs, given: Assumptions) -> Size:
    """Work out what a rate takes."""
    coordinators = _least(rate * costs.coordinator / given.busy)
    by_cpu = rate * costs.agent / given.busy
    by_time = rate * given.step_s / given.concurrency
    agents = _least(max(by_cpu, by_time))
    broker_cores = rate * costs.broker * given.copies / given.broker_busy
    brokers = max(given.copies, _least(broker_cores / given.broker_cores))
    kept_s = given.kept_days * DAY_S
    disk = rate * given.step_bytes * given.packed * kept_s * given.copies / GIB
    return Size(
        rate,
        coordinators,
        max(LEAST_PARTITIONS, coordinators * given.room),
        agents,
        max(LEAST_PARTITIONS, agents * given.room),
        brokers,
        disk,
    )


def table(rates: Sequence[int], costs: Costs, given: Assumptions) -> str:
    """Write the table, with where it comes from."""
    head = (
        "| steps/s | coordinators | partitions of `events` | instances of agents | "
        "partitions of `steps.*` | brokers | disk for events |\n"
        "|--:|--:|--:|--:|--:|--:|--:|"
    )
    rows = "\n".join(size(rate, costs, given).row() for rate in rates)
    told = (
        f"CPU seconds per 1,000 steps: coordinator {costs.coordinator * 1000:.2f}, agent "
        f"{costs.agent * 1000:.2f}, broker {costs.broker * 1000:.2f} a copy "
        "(`docs/performance.md`). "
        f"Assumed: processes at {given.busy:.0%} of a core, brokers at {given.broker_busy:.0%} of "
        f"{given.broker_cores} cores, {given.copies} copies, {given.room} partitions for each "
        f"process, steps of {given.step_s:g} s, {given.concurrency} at once in an instance, "
        f"{given.step_bytes:,} bytes of facts a step, packed to {given.packed:.0%}, kept for "
        f"{given.kept_days} days."
    )
    return f"{head}\n{rows}\n\n{told}\n"


def write(page: str, text: str) -> str:
    """Put the table between its marks."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"the page lacks the marks {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{text}{END}{after}"


def _least(needed: float) -> int:
    return max(1, math.ceil(needed))


def _options() -> argparse.Namespace:
    usual = Assumptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--rate", type=int, nargs="+", default=list(RATES), help="steps a second")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="what `make bench` printed")
    parser.add_argument("--step-s", type=float, default=usual.step_s, help="how long a step takes")
    parser.add_argument("--concurrency", type=int, default=usual.concurrency)
    parser.add_argument("--copies", type=int, default=usual.copies)
    parser.add_argument("--kept-days", type=int, default=usual.kept_days)
    parser.add_argument("--step-bytes", type=int, default=usual.step_bytes)
    parser.add_argument("--write", action="store_true", help="into docs/operations.md")
    return parser.parse_args()


def main() -> None:
    """Print the table, or write it into the page."""
    options = _options()
    given = Assumptions(
        step_s=options.step_s,
        concurrency=options.concurrency,
        copies=options.copies,
        kept_days=options.kept_days,
        step_bytes=options.step_bytes,
    )
    text = table(options.rate, read_costs(options.figures.read_text()), given)
    if options.write:
        PAGE.write_text(write(PAGE.read_text(), text))
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
