"""`starlings incident`: all of one run in a file, without secrets, to be handed on and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starlings.cli.event_options import FromFile
from starlings.cli.exits import Exit
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, RunName

if TYPE_CHECKING:
    from starlings.replay.incident import IncidentHeader
    from starlings.replay.run_records import RunRecords

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Where to write it; .gz is compressed."),
]
WithBlobs = Annotated[
    bool, typer.Option("--blobs", help="Take values along that lie in the blob store.")
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-payload",
        metavar="FIELD",
        help="Leave what stands under this name, although it sounds secret; may be repeated.",
    ),
]
Redact = Annotated[
    list[str] | None,
    typer.Option(
        "--redact",
        metavar="PATTERN",
        help="Take out what fits too: a regular expression, or its first group; may be repeated.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "incident", rich_help_panel="Debugging")(incident)


async def incident(
    run: RunName,
    *,
    output: Output,
    blobs: WithBlobs = False,
    keep_payload: Keep = None,
    redact: Redact = None,
    from_: FromFile = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Write all of a run into a file, secrets taken out: for a report, or as a test.

    `pytest --incident FILE` replays it. Exit code 1 where values that were asked for are missing.
    """
    from starlings.cli.incidents import print_written, written_document  # noqa: PLC0415 - fast help
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.messages import ConfigError  # noqa: PLC0415

    if output.exists() and not force:
        raise ConfigError(f"{output} is there already; --force overwrites it")
    if not output.parent.is_dir():
        raise ConfigError(
            f"there is no folder {output.parent}: make it, or name another file with -o"
        )
    found, header = await _written(
        run, output, blobs=blobs, keep=keep_payload or [], patterns=redact or [], archive=from_
    )
    _complain_of(found, header, asked=blobs)
    if json:
        print_json(written_document(header, output))
    else:
        print_written(header, output)
    return Exit.FAILED if blobs and header.left else Exit.OK


async def _written(
    run: str,
    output: Path,
    *,
    blobs: bool,
    keep: list[str],
    patterns: list[str],
    archive: Path | None,
) -> tuple[RunRecords, IncidentHeader]:
    import os  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.incidents import recorded_run  # noqa: PLC0415
    from starlings.replay.incident_writing import IncidentWriter  # noqa: PLC0415
    from starlings.replay.redacting import Redaction  # noqa: PLC0415
    from starlings.replay.secret_signs import secrets_of_environment  # noqa: PLC0415

    folder = os.environ.get("STARLINGS_SECRETS_FOLDER")
    known = secrets_of_environment(os.environ, folder=Path(folder) if folder else None)
    async with recorded_run(run, archive) as (found, store, prefix):
        redaction = Redaction(known=known, patterns=patterns, keep=keep, names=found.names)
        writer = IncidentWriter(found, redaction, store if blobs else None)
        return found, await writer.write(output, prefix)


def _complain_of(found: RunRecords, header: IncidentHeader, *, asked: bool) -> None:
    for strange in found.strange:
        complain(f"a record cannot be read, and is taken along as it is: {strange}")
    if found.end_unread:
        complain(f"the end of run {header.run_id} is one of these: how it ended is not known")
    if not header.ended:
        complain(f"run {header.run_id} has not ended: what is to come is not in the file")
    if header.since is not None:
        complain(
            f"the beginning of run {header.run_id} has been deleted: the file is complete from "
            f"offset {header.since} on, by a snapshot of its state"
        )
    for left in header.left if asked else ():
        complain(f"the value {left.uri} is not in the file: {left.reason}")
    if header.left and not asked:
        complain(
            f"{len(header.left)} large values lie in the blob store, and are not in the file: "
            "--blobs takes them along"
        )
