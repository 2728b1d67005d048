"""The table that `make bench` prints: figures, ratios to the floor, marks met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from .floor import Floor
from .measures import Restore
from .system import OTHERS, Usage
from .takeover import Takeover

HOP_MOST = 2.5  # times the floor's round
STEPS_LEAST = 0.06  # of the floor's copies
OTHERS_MOST = 0.25  # of a core, beyond which figures say little
PLAN_MOST = 1.5  # times the 50-step plan's time per step


@dataclass(frozen=True)
class Sample:
    """One turn: the floor, and what was measured right after it."""

    floor: Floor
    hops_ms: list[float]
    steps_per_s: dict[int, float]  # by the number of runs at once

    @property
    def hop_p50_ms(self) -> float:
        """The median hop."""
        return percentile(self.hops_ms, 0.5)

    @property
    def hop_p99_ms(self) -> float:
        """The hop that one in a hundred exceeds."""
        return percentile(self.hops_ms, 0.99)


@dataclass(frozen=True)
class PlanTimes:
    """Seconds per step of small and large plans."""

    size: int
    small_size: int
    chain_s: float
    fan_out_s: float
    small_chain_s: float
    small_fan_out_s: float


@dataclass(frozen=True)
class Cost:
    """What a process took for a number of steps."""

    cpu_s_per_1000: float
    share: float
    rss_mib: float


@dataclass
class Report:
    """All that was measured."""

    samples: list[Sample] = field(default_factory=list)
    burst_s: float | None = None
    burst_width: int = 0
    plans: PlanTimes | None = None
    restore: Restore | None = None
    takeovers: list[Takeover] = field(default_factory=list)
    costs: list[dict[str, Cost]] = field(default_factory=list)  # one for each turn


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    what: str
    value: str
    floor: str = ""
    ratio: str = ""
    mark: str = ""
    met: bool | None = None


def percentile(ordered: list[float], share: float) -> float:
    """Take the value that this share of ordered values does not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def costs(
    before: dict[str, Usage], after: dict[str, Usage], *, steps: int, s: float
) -> dict[str, Cost]:
    """Compare two readings of the same processes."""
    return {
        name: Cost(
            cpu_s_per_1000=(after[name].cpu_s - before[name].cpu_s) / steps * 1000,
            share=(after[name].cpu_s - before[name].cpu_s) / s,
            rss_mib=after[name].rss_mib,
        )
        for name in after
    }


def lines(report: Report) -> list[Line]:
    """Make the rows."""
    return [
        *_pace(report.samples),
        *_burst(report),
        *_plans(report.plans),
        *_restore(report),
        *_takeovers(report),
    ]


def _pace(samples: list[Sample]) -> list[Line]:
    if not samples:
        return []
    middle = statistics.median
    p50 = middle(s.hop_p50_ms / s.floor.round_p50_ms for s in samples)
    p99 = middle(s.hop_p99_ms / s.floor.round_p99_ms for s in samples)
    found = [
        Line(
            "hop p50, one run in flight",
            f"{middle(s.hop_p50_ms for s in samples):.2f} ms",
            f"{middle(s.floor.round_p50_ms for s in samples):.2f} ms a round",
            f"{p50:.2f} x",
            f"≤ {HOP_MOST} x",
            p50 <= HOP_MOST,
        ),
        Line(
            "hop p99, one run in flight",
            f"{middle(s.hop_p99_ms for s in samples):.2f} ms",
            f"{middle(s.floor.round_p99_ms for s in samples):.2f} ms a round",
            f"{p99:.2f} x",
        ),
    ]
    for runs in samples[0].steps_per_s:
        share = middle(s.steps_per_s[runs] / s.floor.copies_per_s for s in samples)
        found.append(
            Line(
                f"{runs} runs x 10 steps",
                f"{middle(s.steps_per_s[runs] for s in samples):,.0f} steps/s",
                f"{middle(s.floor.copies_per_s for s in samples):,.0f} copies/s",
                f"{share:.1%}",
                f"≥ {STEPS_LEAST:.0%}",
                share >= STEPS_LEAST,
            )
        )
    return found


def _burst(report: Report) -> list[Line]:
    if report.burst_s is None:
        return []
    steps = report.burst_width + 2
    what = f"1 → {report.burst_width:,} → 1"
    return [Line(what, f"{report.burst_s:.2f} s ({steps / report.burst_s:,.0f} steps/s)")]


def _plans(plans: PlanTimes | None) -> list[Line]:
    if plans is None:
        return []
    shapes = {
        "chain": (plans.chain_s, plans.small_chain_s),
        "fan-out": (plans.fan_out_s, plans.small_fan_out_s),
    }
    return [
        Line(
            f"{shape} of {plans.size:,} steps",
            f"{large * 1000:.2f} ms a step",
            f"{small * 1000:.2f} ms a step of {plans.small_size}",
            f"{large / small:.2f} x",
            f"≤ {PLAN_MOST} x",
            large / small <= PLAN_MOST,
        )
        for shape, (large, small) in shapes.items()
    ]


def _restore(report: Report) -> list[Line]:
    found = report.restore
    if found is None:
        return []
    what = f"restore of {found.open_runs:,} open runs"
    return [
        Line(f"{what}, after kill -9: ready", f"{found.ready_s:.2f} s"),
        Line("  … of which reading and folding the log", f"{found.read_s:.2f} s"),
        Line(f"  … {found.owed:,} owed ends published", f"{found.published_s:.2f} s"),
        Line(f"{what}, after a clean stop: ready", f"{found.clean_ready_s:.2f} s"),
    ]


def _takeovers(report: Report) -> list[Line]:
    found = []
    for one in report.takeovers:
        what = "goes on" if one.case.static else "all done"
        found.append(
            Line(
                one.case.what,
                f"still {one.still_s:.2f} s, all done {one.done_s:.2f} s",
                f"{one.left} steps left, {one.twice} done twice",
                mark=f"{what} ≤ {one.case.limit_s:.0f} s, none twice",
                met=one.met,
            )
        )
    return found


def _costs(turns: list[dict[str, Cost]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("process", "CPU-s per 1,000 steps", "of one core", "RSS")]
    for name in turns[0]:
        cpu_s = statistics.median(turn[name].cpu_s_per_1000 for turn in turns)
        share = statistics.median(turn[name].share for turn in turns)
        rss_mib = max(turn[name].rss_mib for turn in turns)
        rows.append((name, f"{cpu_s:.2f}", f"{share:.0%}", f"{rss_mib:.0f} MiB" if rss_mib else ""))
    return rows


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    ruled = [rows[0], tuple("-" * width for width in widths), *rows[1:]]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in ruled
    )


def render(report: Report) -> str:
    """Write the tables."""
    verdict = {True: "met", False: "MISSED", None: ""}
    rows = [("measure", "Starlings", "beside it", "ratio", "mark", "")]
    rows += [(r.what, r.value, r.floor, r.ratio, r.mark, verdict[r.met]) for r in lines(report)]
    text = _table(rows)
    if report.costs:
        text += "\n\n" + _table(_costs(report.costs))
    return text


def disturbed(report: Report) -> str | None:
    """Say how much of the machine others took, where that is enough to spoil the figures."""
    if not report.costs:
        return None
    share = statistics.median(turn[OTHERS].share for turn in report.costs)
    if share <= OTHERS_MOST:
        return None
    return f"other programs took {share:.0%} of a core meanwhile: measure again when they rest"


def missed(report: Report) -> list[str]:
    """Name the marks that were not met."""
    return [line.what for line in lines(report) if line.met is False]
