"""What verifying has found, for people and for programs."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.replay import cuts
from starlings.replay.findings import Difference, Findings
from starlings.replay.judging import NO_BEGINNING

from .event_source import cut_text
from .exits import Exit
from .guard import complain
from .log_source import Log
from .printing import clean, console, print_json, say

SHOWN = 20
SIDE_LIMIT = 2_000


def verdict(findings: Findings) -> Exit:
    """Say with which code the command ends.

    That a run began before what was read is in the nature of logs, unless it was asked for.
    """
    if findings.differences:
        return Exit.DIFFERENT
    doubted = any(why != NO_BEGINNING for why in findings.unjudged.values())
    return (
        Exit.OK
        if findings.counts.same and not doubted and not _asked_in_vain(findings)
        else (Exit.FAILED)
    )


def _asked_in_vain(findings: Findings) -> bool:
    return bool(findings.asked & findings.unjudged.keys())


def print_findings(log: Log, findings: Findings, *, json: bool) -> None:
    """Print what was found."""
    if json:
        print_json(_document(log, findings))
        return
    out = console()
    for difference in findings.differences[:SHOWN]:
        _print_difference(out, difference)
    _print_rest(out, len(findings.differences))
    for run_id, why in list(findings.unjudged.items())[:SHOWN]:
        say(out, Text(clean(why, 1000)), head=f"? {clean(run_id)}  not judged: ", style="yellow")
    _print_rest(out, len(findings.unjudged))
    _print_summary(out, findings)
    if findings.unjudged and (missing := cuts(log.events)):
        complain(cut_text(missing, of_file=log.kafka is None))


def _print_difference(out: Console, found: Difference) -> None:
    place = f"{found.topic}/{found.partition}/{found.offset}"
    line = Text.assemble(("✗ ", "red"), (clean(found.run_id), "bold"), "  ", clean(found.id))
    out.print(line.append(f"  at {place}", style="dim"))
    where = f" ({clean(found.path)})" if found.path else ""
    say(out, Text(clean(found.what, 1000) + where), head="  ")
    for name, value in (("published", found.published), ("owed     ", found.owed)):
        if found.path or value is not None:
            say(out, Text(_side(value)), head=f"    {name}  ", style="dim")


def _side(value: Any) -> str:
    return clean(json_module.dumps(value, ensure_ascii=False, default=str), SIDE_LIMIT)


def _print_rest(out: Console, count: int) -> None:
    if count > SHOWN:
        out.print(Text(f"  and {count - SHOWN:,} more: --json lists them all", style="dim"))


def _print_summary(out: Console, findings: Findings) -> None:
    count = findings.counts
    if findings.differences:
        mark = Text("not the same  ", style="red")
    elif findings.unjudged or not count.same:
        mark = Text("the same, as far as can be told  " if count.same else "nothing was judged  ")
        mark.stylize("yellow")
    else:
        mark = Text("the same  ", style="green")
    out.print(mark.append(", ".join(_told(findings)), style="dim"))


def _told(findings: Findings) -> Iterator[str]:
    count = findings.counts
    open_runs = f" ({count.open_runs:,} open)" if count.open_runs else ""
    yield _counted(count.records, "record")
    yield _counted(count.runs, "run") + open_runs
    yield _counted(count.decisions, "decision") + " compared"
    for number, what, more in (
        (count.steps, "work", " compared"),
        (len(findings.since), "run", " judged from a later record on"),
        (count.repeated, "record", " that stood there twice"),
        (count.foreign, "foreign record", ""),
        (count.gaps, "gap", " between offsets"),
    ):
        if number:
            yield _counted(number, what) + more


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _document(log: Log, findings: Findings) -> dict[str, Any]:
    return {
        "same": findings.are_same and not findings.unjudged,
        "counts": asdict(findings.counts),
        "differences": [difference._asdict() for difference in findings.differences],
        "unjudged": findings.unjudged,
        "judged_from": findings.since,
        "gaps": [
            {"topic": place.topic, "partition": place.partition, "first": first, "end": end}
            for place, first, end in findings.gaps
        ],
        "cut": [cut.model_dump(mode="json") for cut in cuts(log.events)],
    }
