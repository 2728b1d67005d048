"""What a scenario has cost, and the table of all of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .evidence import Blow, Evidence, Execution
from .findings import Finding
from .rules_effects import by_key

#: Nothing breaks by these.
HARMLESS = {"start", "crowd", "cancel"}
HEADER = (
    "scenario",
    "runs",
    "steps",
    "blows",
    "lost",
    "again",
    "doubled",
    "recovery p50",
    "max",
    "audit",
)


@dataclass(frozen=True)
class Figures:
    """One row of the table."""

    scenario: str
    runs: int
    steps: int
    blows: int
    lost: int  # runs without an end, and attempts without a result
    again: int  # executions of an attempt that had been begun before
    doubled: int  # of those, the ones after which an effect stood there twice
    recoveries_s: list[float]
    findings: int

    def row(self) -> tuple[str, ...]:
        """Write it for the table."""
        times = self.recoveries_s or [math.nan]
        return (
            self.scenario,
            f"{self.runs:,}",
            f"{self.steps:,}",
            str(self.blows),
            str(self.lost),
            str(self.again),
            str(self.doubled),
            f"{statistics.median(times):.1f} s",
            f"{max(times):.1f} s",
            f"{self.findings} findings" if self.findings else "clean",
        )


def figures(scenario: str, evidence: Evidence, findings: Sequence[Finding]) -> Figures:
    """Count."""
    ends, releases, results = evidence.ends(), evidence.releases(), evidence.results()
    ended_ms = {run_id: min(row.at_ms for row in rows) for run_id, rows in ends.items()}
    executions = by_key(evidence).values()
    struck = [blow for blow in evidence.blows if blow.kind not in HARMLESS]
    return Figures(
        scenario=scenario,
        runs=len(evidence.asked),
        steps=len(releases),
        blows=len(struck),
        lost=len(evidence.asked.keys() - ends.keys()) + len(releases.keys() - results.keys()),
        again=sum(_times_begun(each) - 1 for each in executions),
        doubled=sum(max(0, _times_effective(each) - 1) for each in executions),
        recoveries_s=[_recovery_s(blow, ended_ms) for blow in struck],
        findings=len(findings),
    )


def _times_begun(executions: list[Execution]) -> int:
    """Count, without tries to undo that follow one that stumbled: those are meant to be."""
    tries = sum(each.undoes and each.end == "stumbled" for each in executions[:-1])
    return len(executions) - tries


def _times_effective(executions: list[Execution]) -> int:
    return sum(each.end in ("did", "undid") for each in executions)


def _recovery_s(blow: Blow, ended_ms: dict[str, int]) -> float:
    """Tell how long it took until all runs had ended that were asked for at that moment."""
    ends = [ended_ms.get(name, math.inf) for name in blow.probes]
    return max((max(ends, default=blow.at_ms) - blow.at_ms) / 1000, 0.0)


def table(rows: Sequence[Figures]) -> str:
    """Write the table."""
    cells = [HEADER, *(each.row() for each in rows)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(HEADER))]
    ruled = [cells[0], tuple("-" * width for width in widths), *cells[1:]]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n in (0, len(row) - 1) else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in ruled
    )
