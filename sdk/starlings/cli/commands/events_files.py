"""`starlings events export` and `import`: stretches of the log as files, and back."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli import event_options as which
from starlings.cli.guard import complain
from starlings.cli.options import Json

if TYPE_CHECKING:
    from starlings.replay import Archive, ArchiveHeader, ArchiveWriter
    from starlings.replay.importing import Examined, Import
    from starlings.replay.selection import Selection

STDOUT = "-"


# -- export ----------------------------------------------------------------------------------------


async def export(
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; `-`: standard output, .gz: packed."
        ),
    ],
    run: which.Runs = None,
    type_: which.Types = None,
    agent: which.Agents = None,
    step: which.Steps = None,
    outcome: which.Outcomes = None,
    failed: which.Failed = False,
    since: which.Since = None,
    until: which.Until = None,
    offsets: which.OffsetRange = None,
    partition: which.Partitions = None,
    all_topics: which.AllTopics = False,
    from_file: which.FromFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: Json = False,
) -> None:
    """Keep records in a file of JSON lines, which `--from` and `events import` read."""
    chosen = which.selection(
        run=run,
        type_=type_,
        agent=agent,
        step=step,
        outcome=outcome,
        failed=failed,
        since=since,
        until=until,
        offsets=offsets,
        partition=partition,
    )
    if output == STDOUT and json:
        raise typer.BadParameter(
            "--json tells about the file, which goes to standard output here: name a file"
        )
    if output != STDOUT:
        _check_place(Path(output), force=force)
    written = await _export(chosen, output, all_topics=all_topics, from_file=from_file)
    if output != STDOUT:
        _tell_export(written, output, json=json)


def _check_place(output: Path, *, force: bool) -> None:
    if output.exists() and not force:
        raise typer.BadParameter(f"{output} is there already; --force replaces it")
    if not output.parent.is_dir():
        raise typer.BadParameter(
            f"there is no folder {output.parent}: make it, or name another file"
        )


async def _export(
    chosen: Selection, output: str, *, all_topics: bool, from_file: Path | None
) -> int:
    from starlings.cli.event_source import opened, tell_missing  # noqa: PLC0415 - fast help
    from starlings.replay import ArchiveHeader  # noqa: PLC0415
    from starlings.replay.importing import SELECTED  # noqa: PLC0415

    async with opened(chosen, from_file=from_file, all_topics=all_topics) as found:
        header = ArchiveHeader(prefix=found.topics.prefix, ranges=list(found.source.ranges))
        if (said := found.choices()) and header.model_extra is not None:
            header.model_extra[SELECTED] = said
        selected = found.selected()
        with _archive(output, header) as writer:
            async with aclosing(selected.records()) as records:
                async for record in records:
                    writer.write(record)
        tell_missing(found.source, selected, found.selection)
    if selected.unreadable:
        complain(f"{selected.unreadable:,} that cannot be read were left out")
    return int(writer.records)


@contextmanager
def _archive(output: str, header: ArchiveHeader) -> Generator[ArchiveWriter]:
    from starlings.replay import ArchiveWriter, create_archive  # noqa: PLC0415 - fast help

    if output != STDOUT:
        with create_archive(Path(output), header) as writer:
            yield writer
        return
    with ArchiveWriter(sys.stdout.buffer, header) as writer:
        yield writer
    sys.stdout.buffer.flush()


def _tell_export(records: int, output: str, *, json: bool) -> None:
    from starlings.cli.printing import console, print_json  # noqa: PLC0415 - `--help` stays fast

    size = Path(output).stat().st_size
    if json:
        print_json({"file": output, "records": records, "size_bytes": size})
    else:
        text = f"exported  {records:,} records, {size:,} bytes → {output}"
        console().print(text, markup=False, soft_wrap=True)
    if not records:
        complain("no such record: the file has none")


# -- import ----------------------------------------------------------------------------------------


async def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="An archive.")
    ],
    *,
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of the topics to write to, as `copy.`; they are made anew."
        ),
    ] = None,
    into_live: Annotated[
        bool,
        typer.Option(
            "--into-live",
            help="Write to topics that are in use: whoever reads them takes it for news.",
        ),
    ] = False,
    with_gaps: Annotated[
        bool, typer.Option("--with-gaps", help="Also where records are missing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; tell what would be written where.")
    ] = False,
    json: Json = False,
) -> None:
    """Lay an archive on topics of another prefix, each record marked as a replay.

    Look at it with STARLINGS_TOPIC_PREFIX set to that prefix.
    """
    from starlings.cli.reach import connection, patience_s  # noqa: PLC0415 - fast help
    from starlings.replay import importing, read_archive  # noqa: PLC0415
    from starlings.service import ServiceSettings, load_settings  # noqa: PLC0415

    archive = read_archive(file)
    live = load_settings(ServiceSettings).topics
    target = importing.check_target(archive, target=prefix, live=live, into_live=into_live)
    examined = importing.examine(archive)
    if not with_gaps:
        importing.check_gaps(archive, examined)
    kafka = connection()
    await kafka.connect(wait_s=patience_s())
    work = importing.Import(kafka, archive, examined, target)
    if not into_live:
        await work.check_not_in_use()
    if not dry_run:
        await _write(work, archive)
    _tell_import(work, examined, dry_run=dry_run, json=json)
    if blobs := (archive.header.model_extra or {}).get("blobs"):
        complain(
            f"the {blobs:,} large values that the file carries are not imported: whoever reads the "
            "copy needs the blob store that they come from; `--from` reads them from the file"
        )


async def _write(work: Import, archive: Archive) -> None:
    from starlings.messages import StarlingsError  # noqa: PLC0415 - `--help` stays fast

    try:
        await work.run()
    except StarlingsError as error:
        complain(f"{work.imported:,} records of {archive.path} were written before this:")
        raise error from None


def _tell_import(work: Import, examined: Examined, *, dry_run: bool, json: bool) -> None:
    from starlings.cli.printing import console, print_json  # noqa: PLC0415 - `--help` stays fast

    records = examined.records - examined.snapshots
    if json:
        document: dict[str, Any] = {
            "records": records,
            "topics": work.topics,
            "repeated": examined.repeated,
            "snapshots_left_out": examined.snapshots,
            "gaps": examined.gaps,
            "done": not dry_run,
        }
        print_json(document)
        return
    out = console()
    word = "to import" if dry_run else "imported"
    out.print(f"{word}  {records:,} records", markup=False, soft_wrap=True)
    for old, new in work.topics.items():
        out.print(f"  {old} → {new}", markup=False, soft_wrap=True)
    if examined.repeated:
        complain(f"{examined.repeated:,} records stand there twice, and count once")
    if examined.snapshots:
        complain(f"{examined.snapshots:,} snapshots are left out: they name offsets of that log")
