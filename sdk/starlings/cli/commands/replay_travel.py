"""`starlings replay travel`: a run as it was, forwards and backwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starlings.cli.event_options import FromFile
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, RunName

if TYPE_CHECKING:
    from starlings.replay.travel import Travel

At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="OFFSET|TIME|STEP", help="As of then: `1234`, `2026-05-01T18:00:00`, `2h`."
    ),
]


def register(group: typer.Typer) -> None:
    """Add the command."""
    command(group, "travel")(travel)


async def travel(
    run: RunName, *, at: At = None, from_file: FromFile = None, json: Json = False
) -> None:
    """See a run as it was at any of its facts: what came of each, and why.

    In a terminal single keys go on and back; elsewhere every fact is a line, or with `--at` one
    is a page. `--json` tells the whole state (as of the last fact, without `--at`).
    """
    from starlings.cli import travel_keys  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.travel_page import (  # noqa: PLC0415
        moment_document,
        moment_line,
        print_moment,
    )

    told = await _opened(run, from_file)
    out = console()
    by_keys = travel_keys.interactive() and not json
    told.go(0 if by_keys or not json else len(told.facts) - 1)
    if at is not None:
        told.go(len(told.facts) - 1)  # so that its steps are known
        told.go(travel_keys.place_of(told, at))
    if json:
        print_json(moment_document(told))
    elif by_keys:
        with travel_keys.keyboard() as (key, ask):
            travel_keys.travel_by_keys(told, out, key, ask)
    elif at is not None:
        print_moment(out, told)
    else:
        for number in range(len(told.facts)):
            told.go(number)
            out.print(moment_line(told), soft_wrap=True)


async def _opened(name: str, from_file: Path | None) -> Travel:
    from starlings.cli.event_source import cut_text  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.log_source import open_log  # noqa: PLC0415
    from starlings.messages import ConfigError, run_key  # noqa: PLC0415
    from starlings.replay import cuts  # noqa: PLC0415
    from starlings.replay.entries import EntryReader  # noqa: PLC0415
    from starlings.replay.travel import Travel  # noqa: PLC0415

    async with open_log((name,), from_file=from_file) as log:
        (run_id,) = log.runs
        reader, key = EntryReader(log.codec, log.topics), run_key(run_id)
        facts = [
            await reader.read(record)
            async for record in log.events.records()
            if record.key == key and record.topic == log.topics.events
        ]
        missing = cuts(log.events)
    if not facts:
        where = "in the log; `starlings runs` lists what there is" if from_file is None else "there"
        raise ConfigError(f"there is no run {run_id!r} {where}")
    told = Travel(run_id, facts)
    told.go(0)
    if missing and told.run is None:
        complain(cut_text(missing, of_file=from_file is not None))
    return told
