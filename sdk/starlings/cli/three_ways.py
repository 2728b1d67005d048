"""What comparing the state of open runs in three ways has found, for people and for programs."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.replay.rebuilding import Rebuilt, Way

from .exits import Exit
from .printing import clean, console, print_json, say

SHOWN = 20
SIDE_LIMIT = 500
SAME = "the coordinator is disposable: 3 ways, one state"


def verdict_of(found: Sequence[Rebuilt]) -> Exit:
    """Say with which code the command ends."""
    if not all(each.are_same for each in found):
        return Exit.DIFFERENT
    return Exit.FAILED if any(each.unjudged for each in found) else Exit.OK


def print_rebuilt(found: Sequence[Rebuilt], *, json: bool) -> None:
    """Print what was found."""
    if json:
        print_json(_document(found))
        return
    out = console()
    for each in found:
        _print_partition(out, each)
    _print_summary(out, found)


def _print_partition(out: Console, each: Rebuilt) -> None:
    mark = (
        ("✗", "red") if not each.are_same else ("?", "yellow") if each.unjudged else ("✓", "green")
    )
    place = f"{each.place.topic}/{each.place.partition}"
    out.print(Text.assemble(mark, " ", (place, "bold"), f" as of offset {each.at:,}"))
    _print_way(out, "from the start  ", each.from_start)
    _print_way(out, "as a successor  ", each.from_restore)
    if each.report is not None:
        told = f"{each.report.hash}  {_counted(each.report.runs, 'open run')}{_share(each)}"
        say(out, Text(told), head="    as is reported  ", style="dim")
    for line in each.differences:
        say(out, Text(line), head="  ✗ ", style="red")
    for run in each.runs[:SHOWN]:
        _print_run(out, each, run._asdict())
    for line in each.unjudged[:SHOWN]:
        say(out, Text(clean(line, 1_000)), head="  ? not judged: ", style="yellow")
    hidden = max(0, len(each.runs) - SHOWN) + max(0, len(each.unjudged) - SHOWN)
    if hidden:
        out.print(Text(f"  and {hidden:,} more: --json lists them all", style="dim"))
    if each.differences and each.in_slice:
        say(out, Text(_listed(each.in_slice)), head="    it speaks of  ", style="dim")
    if each.left_out:
        told = f"{_listed(each.left_out)}: too long to be hashed while others wait"
        say(out, Text(told), head="    it leaves out  ", style="dim")


def _print_way(out: Console, name: str, way: Way) -> None:
    told = f"{way.found.value}  {_counted(way.found.runs, 'open run')}"
    more = f", {_counted(way.records, 'record')} from {way.start:,} on"
    say(out, Text(told + more), head=f"    {name}", style="dim")


def _share(each: Rebuilt) -> str:
    report = each.report
    if report is None or report.slices == 1:
        return ""
    told = f", slice {report.slice + 1} of {report.slices}"
    doubted = each.differences or each.unjudged
    return told if doubted else f"{told}: as the readers have it"


def _print_run(out: Console, each: Rebuilt, run: dict[str, Any]) -> None:
    path = f"  {clean(run['path'])}" if run["path"] else ""
    out.print(Text.assemble(("  ✗ ", "red"), (clean(run["run_id"]), "bold"), path))
    starts = (each.from_start.start, each.from_restore.start)
    for start, side in zip(starts, (run["from_start"], run["from_restore"]), strict=True):
        value = clean(json_module.dumps(side, ensure_ascii=False, default=str), SIDE_LIMIT)
        told = "not known to be open" if side is None and not run["path"] else value
        say(out, Text(told), head=f"      read from {start:,}  ", style="dim")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(clean(name) for name in names[:SHOWN]) + more


def _print_summary(out: Console, found: Sequence[Rebuilt]) -> None:
    reported = sum(each.report is not None for each in found)
    if not all(each.are_same for each in found):
        mark = Text("not one state  ", style="red")
    elif any(each.unjudged for each in found):
        mark = Text("one state, as far as can be told  ", style="yellow")
    else:
        mark = Text(f"{SAME}  ", style="green")
    counts = [
        _counted(len(found), "partition"),
        _counted(sum(each.from_start.found.runs for each in found), "open run"),
        _counted(sum(each.from_start.records for each in found), "record"),
        _counted(reported, "report"),
    ]
    out.print(mark.append(", ".join(counts), style="dim"))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _document(found: Sequence[Rebuilt]) -> dict[str, Any]:
    return {
        "same": verdict_of(found) is Exit.OK,
        "partitions": [
            {
                "topic": each.place.topic,
                "partition": each.place.partition,
                "at": each.at,
                "from_start": _way(each.from_start),
                "from_restore": _way(each.from_restore),
                "report": None if each.report is None else each.report.model_dump(mode="json"),
                "runs": [run._asdict() for run in each.runs],
                "differences": each.differences,
                "in_slice": each.in_slice,
                "left_out": each.left_out,
                "unjudged": each.unjudged,
            }
            for each in found
        ],
    }


def _way(way: Way) -> dict[str, Any]:
    return {
        "start": way.start,
        "records": way.records,
        "hash": way.found.value,
        "runs": way.found.runs,
    }
