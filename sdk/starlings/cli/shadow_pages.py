"""How what a shadow has found is printed, and written to a file."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from starlings.messages import ConfigError
from starlings.replay.shadow import Shadow
from starlings.replay.shadow_comparing import Comparison, Verdict
from starlings.replay.shadow_report import Report, Row, Sum

from .exits import Exit
from .printing import clean, console, print_json, print_table
from .times import duration_text

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20
_STYLES = {
    Verdict.SAME: "green",
    Verdict.SAME_MEANING: "green",
    Verdict.DIFFERENT: "yellow",
    Verdict.FAILED: "red",
    Verdict.NOT_COMPARABLE: "dim",
}
_LOUDEST = [Verdict.FAILED, Verdict.DIFFERENT, Verdict.NOT_COMPARABLE, Verdict.SAME_MEANING]


def shadow_exit(report: Report) -> Exit:
    """Say with which code the command ends."""
    if report.good:
        return Exit.OK
    counts = report.verdicts
    return Exit.DIFFERENT if counts[Verdict.DIFFERENT] + counts[Verdict.FAILED] else Exit.FAILED


def shadow_document(shadow: Shadow, report: Report) -> dict[str, Any]:
    """Write a report for programs, without its steps."""
    judged = report.judged
    return {
        "agent": shadow.served,
        "candidate": shadow.candidate.name,
        "group": shadow.topic,
        "topic": shadow.topic,
        "steps": len(shadow.work.steps),
        "compared": len(report.rows),
        "verdicts": {verdict.value: count for verdict, count in report.verdicts.items()},
        "was": report.was.document(),
        "now": report.now.document(),
        "judge": judged.model_dump(mode="json") if judged else None,
    }


def write_report(file: Path, report: Report) -> None:
    """Write a line per step.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with file.open("w", encoding="utf-8") as out:
            for row in report.rows:
                out.write(json_module.dumps(row.document(), ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigError(f"--report {file} cannot be written: {error}") from None


def print_shadow(shadow: Shadow, report: Report, *, json: bool) -> None:
    """Print a report."""
    if json:
        rows = [row.document() for row in report.rows]
        print_json({**shadow_document(shadow, report), "results": rows})
        return
    out = console()
    _print_rows(out, report)
    counts = [
        Text(f"{count:,} {verdict.value}", style=_STYLES[verdict])
        for verdict, count in report.verdicts.items()
        if count
    ]
    what = "step" if len(report.rows) == 1 else "steps"
    head = Text(f"{len(report.rows):,} {what} of {shadow.served}: ", style="bold")
    out.print(head + Text(", ").join(counts), soft_wrap=True)
    missing = len(shadow.work.steps) - len(report.rows)
    if missing > 0:
        said = f"{missing:,} steps of the window were not compared: repeats, or of an older session"
        out.print(Text(said), soft_wrap=True)
    sums = [["then", *_sum(report.was)], ["candidate", *_sum(report.now)]]
    if report.judged is not None:
        sums.append(["judge", "", "", *_used(Sum(None, None, report.judged))])
    columns = ("", "p50", "p95", "model calls", "tokens", "cost")
    print_table(out, columns, sums, right=(1, 2, 3, 4, 5))
    out.print(Text(f"results: {shadow.topic}"), soft_wrap=True)


def _print_rows(out: Console, report: Report) -> None:
    loud = [row for verdict in _LOUDEST for row in report.rows if row.comparison.verdict is verdict]
    for row in loud[:SHOWN]:
        _print_row(out, row)
    if len(loud) > SHOWN:
        out.print(Text(f"… and {len(loud) - SHOWN:,} more; --report FILE has all"))


def _print_row(out: Console, row: Row) -> None:
    said = row.comparison
    head = Text.assemble((said.verdict.value, _STYLES[said.verdict]), f"  {clean(row.name)}")
    out.print(head, soft_wrap=True)
    for line in _lines(said):
        out.print(Text(f"  {line}"), soft_wrap=True)


def _lines(said: Comparison) -> list[str]:
    lines = [clean(said.why, 500)] if said.why else []
    for each in said.differences:
        where = f"{clean(each.path)}: " if each.path else ""
        lines.append(f"{where}{clean(each.was) or '(nothing)'} → {clean(each.now) or '(nothing)'}")
    if said.judgement is not None:
        word = {True: "the same", False: "not the same", None: "undecided"}[said.judgement.same]
        lines.append(f"judge: {word}: {clean(said.judgement.reason, 500)}")
    return lines


def _sum(sum_: Sum) -> list[str]:
    times = ["-" if s is None else duration_text(s) for s in (sum_.p50_s, sum_.p95_s)]
    return [*times, *_used(sum_)]


def _used(sum_: Sum) -> list[str]:
    usage = sum_.usage
    if usage is None:
        return ["0", "0", "-"]
    cost = "-" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
    if usage.unpriced_calls:
        cost += f" + {usage.unpriced_calls} unpriced"
    return [str(usage.calls), f"{usage.input_tokens + usage.output_tokens:,}", cost]
