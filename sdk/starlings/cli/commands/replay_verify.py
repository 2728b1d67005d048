"""`starlings replay verify`: whether recorded runs would be decided today as they were."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.event_options import FromFile, Since, Until
from starlings.cli.exits import Exit
from starlings.cli.guard import command
from starlings.cli.options import Json
from starlings.cli.times import parse_duration

if TYPE_CHECKING:
    from starlings.cli.log_source import Log
    from starlings.replay.findings import Findings

Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Their ids, or `latest`.")]
All = Annotated[bool, typer.Option("--all", help="Every run in the log.")]
Steps = Annotated[
    bool,
    typer.Option("--steps", help="Compare what lies on the topics of agents as well."),
]
Tail = Annotated[
    Any,
    typer.Option(
        parser=parse_duration,
        metavar="DURATION",
        help="What was decided so shortly before the end may be on its way.",
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Compare the state of open runs that a fresh reader gets from the start of the log, "
        "from where a coordinator would begin, and the one that the coordinator reports.",
    ),
]
Partition = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="With --rebuild: only this partition.")
]


def register(group: typer.Typer) -> None:
    """Add the command."""
    command(group, "verify")(verify)


async def verify(
    run: Runs = None,
    *,
    every: All = False,
    since: Since = None,
    until: Until = None,
    steps: Steps = False,
    tail: Tail = "1m",
    from_file: FromFile = None,
    rebuild: Rebuild = False,
    partition: Partition = None,
    json: Json = False,
) -> int:
    """Fold runs again; compare what they owe with what the coordinator published.

    Exit code 8 where today's code would have decided otherwise: the first difference of each run
    is told, with both sides. 1 where a run cannot be judged. With --rebuild: 8 where the states
    differ, 1 where one of them cannot be had.
    """
    from starlings.cli.log_source import open_log  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.verdicts import print_findings, verdict  # noqa: PLC0415

    window = since is not None or until is not None
    if rebuild:
        if run or every or window or steps or from_file is not None:
            raise typer.BadParameter(
                "--rebuild looks at all open runs of the live log: name no runs beside it, and no "
                "--all, --since, --until, --steps or --from"
            )
        return await _rebuilt(partition, json=json)
    if partition is not None:
        raise typer.BadParameter("--partition goes with --rebuild: add that, or leave it out")
    if bool(run) + every + window + (from_file is not None and not (run or every or window)) != 1:
        raise typer.BadParameter("name runs, or give --all, or --since and --until, or --from FILE")
    if window and from_file is not None:
        raise typer.BadParameter(
            "--since and --until are of the live log; a file is read as a whole: leave them out"
        )
    async with open_log(run or (), from_file=from_file, since_ms=since, until_ms=until) as log:
        findings = await _verified(log, tail_ms=int(tail * 1000), steps=steps)
    print_findings(log, findings, json=json)
    return verdict(findings)


async def _rebuilt(partition: int | None, *, json: bool) -> Exit:
    from starlings.cli.reach import client  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.three_ways import print_rebuilt, verdict_of  # noqa: PLC0415
    from starlings.replay.rebuilding import rebuilt  # noqa: PLC0415

    _collect_seldom()
    async with client() as kafka:
        found = await rebuilt(kafka.connection, kafka.codec, kafka.topics, partition=partition)
    print_rebuilt(found, json=json)
    return verdict_of(found)


def _collect_seldom() -> None:
    """Let the collector of cycles look seldom: nearly all that is read lives on for long."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


async def _verified(log: Log, *, tail_ms: int, steps: bool) -> Findings:
    from starlings.replay.verify import verify as verified  # noqa: PLC0415 - `--help` stays fast

    _collect_seldom()
    works = await log.works() if steps else ()
    return await verified(
        log.events,
        topics=log.topics,
        codec=log.codec,
        runs=log.runs or None,
        tail_ms=tail_ms,
        chosen=log.chosen,
        steps=(lambda: log.read(works)) if steps else None,
    )
