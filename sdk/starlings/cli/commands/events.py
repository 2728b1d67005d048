"""`starlings events`: the log itself: record by record, as a tree of causes, as a waterfall."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli import event_options as which
from starlings.cli.exits import EPILOG, Exit
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, Wait

from .events_files import export, import_

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from starlings.cli.event_source import Opened

LIMIT = 100
Raw = Annotated[bool, typer.Option("--raw", help="Headers and value as they lie there.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    events = typer.Typer(
        help="The log itself: follow it, list it, look into it, keep it in a file.",
        no_args_is_help=True,
        epilog=EPILOG,
    )
    functions: tuple[Callable[..., Any], ...] = (tail, ls, show, export, import_)
    for function in functions:
        command(events, function.__name__.rstrip("_"))(function)
    app.add_typer(events, name="events", rich_help_panel="Debugging")


# -- tail ------------------------------------------------------------------------------------------


async def tail(
    *,
    run: which.Runs = None,
    type_: which.Types = None,
    agent: which.Agents = None,
    step: which.Steps = None,
    outcome: which.Outcomes = None,
    failed: which.Failed = False,
    since: which.Since = None,
    partition: which.Partitions = None,
    all_topics: which.AllTopics = False,
    from_file: which.FromFile = None,
    last: Annotated[
        int, typer.Option(min=0, help="Look at so many records of each partition first.")
    ] = 10,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    wait: Wait = None,
    raw: Raw = False,
    json: Json = False,
) -> int:
    """Follow the log live until Ctrl-C; of an archive, the last records that fit.

    `--wait` ends it, with exit code 5 where `--count` has not come by then.
    """
    from starlings.cli.event_source import opened  # noqa: PLC0415 - `--help` stays fast

    chosen = which.selection(
        run=run,
        type_=type_,
        agent=agent,
        step=step,
        outcome=outcome,
        failed=failed,
        since=since,
        partition=partition,
    )
    most = count if from_file is None else count or last
    async with opened(
        chosen, from_file=from_file, all_topics=all_topics, follow_last=last
    ) as found:
        if from_file is not None:
            return await _end_of_file(found, most or 0, raw=raw, json=json)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await _follow(found, count, raw=raw, json=json)
                return Exit.OK
    return Exit.NOT_ENDED if count else Exit.OK


async def _end_of_file(found: Opened, last: int, *, raw: bool, json: bool) -> int:
    async with aclosing(found.selected().records()) as records:
        kept: deque[ConsumerRecord] = deque(maxlen=last)
        async for record in records:
            kept.append(record)
    await _print_kept(found, kept, raw=raw, json=json)
    return Exit.OK


async def _follow(found: Opened, count: int | None, *, raw: bool, json: bool) -> None:
    from starlings.cli.event_page import print_raw  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.event_rows import entry_line  # noqa: PLC0415
    from starlings.cli.printing import console  # noqa: PLC0415

    out, seen = console(), 0
    async with aclosing(found.selected().records()) as records:
        async for record in records:
            if json:
                await _print_line(found, record, raw=raw)
            elif raw:
                print_raw(out, await found.reader.read(record))
            else:
                entry = await found.reader.read(record)
                out.print(entry_line(entry, found.topics.prefix), no_wrap=True, crop=True)
            seen += 1
            if seen == count:
                return


# -- ls --------------------------------------------------------------------------------------------


async def ls(
    *,
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
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many, the latest; {LIMIT} unless --json.")
    ] = None,
    raw: Raw = False,
    json: Json = False,
) -> None:
    """List records in the order of time. `--json`: one line each, all unless limited.

    `--raw --json` writes lines as they stand in an archive.
    """
    from starlings.cli.event_source import opened, tell_missing  # noqa: PLC0415 - fast help

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
    most = limit or (None if json else LIMIT)
    async with opened(chosen, from_file=from_file, all_topics=all_topics, latest=most) as found:
        selected = found.selected()
        kept: deque[ConsumerRecord] = deque(maxlen=most)
        count = 0
        async with aclosing(selected.records()) as records:
            async for record in records:
                count += 1
                if json and limit is None:
                    await _print_line(found, record, raw=raw)
                else:
                    kept.append(record)
        tell_missing(found.source, selected, found.selection)
        await _print_kept(found, kept, raw=raw, json=json)
    left_out = count - len(kept) + found.skipped if kept else 0
    _tell_rest(count, left_out, selected.unreadable)


async def _print_line(found: Opened, record: ConsumerRecord, *, raw: bool) -> None:
    from starlings.cli.event_rows import entry_document, raw_line  # noqa: PLC0415 - fast help
    from starlings.cli.printing import print_json_line, write  # noqa: PLC0415

    if raw:
        write(raw_line(record))
    else:
        print_json_line(entry_document(await found.reader.read(record)))


async def _print_kept(found: Opened, kept: deque[ConsumerRecord], *, raw: bool, json: bool) -> None:
    from starlings.cli.event_page import print_raw  # noqa: PLC0415 - fast help
    from starlings.cli.event_rows import print_list  # noqa: PLC0415
    from starlings.cli.printing import console  # noqa: PLC0415

    if json:
        for record in kept:
            await _print_line(found, record, raw=raw)
    elif raw:
        out = console()
        for record in kept:
            print_raw(out, await found.reader.read(record))
            out.print()
    elif kept:
        entries = [await found.reader.read(record) for record in kept]
        print_list(console(), entries, prefix=found.topics.prefix)


def _tell_rest(count: int, left_out: int, unreadable: int) -> None:
    if not count:
        complain("no such record; `starlings runs` lists the runs that there are")
    if left_out:
        complain(f"and {left_out:,} earlier ones: --limit shows more")
    if unreadable:
        complain(f"{unreadable:,} that cannot be read were left out; --type or --run finds them")


# -- show ------------------------------------------------------------------------------------------


async def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PLACE|ID",
            help="A run (or `latest`), a place (PARTITION/OFFSET, with or without its topic "
            "before it), or the id of a message.",
        ),
    ],
    *,
    tree: Annotated[bool, typer.Option("--tree", help="Of a run: what caused what.")] = False,
    timeline: Annotated[
        bool,
        typer.Option(
            "--timeline",
            help="Of a run: a waterfall of waiting, work, retries and undoing, with the "
            "critical path.",
        ),
    ] = False,
    all_topics: which.AllTopics = False,
    from_file: which.FromFile = None,
    raw: Raw = False,
    json: Json = False,
) -> int:
    """Show a run's records (`--tree`, `--timeline`), or one record as a whole."""
    from starlings.cli.event_source import opened  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.showing import read_place, show_found, show_run  # noqa: PLC0415

    if tree and timeline:
        raise typer.BadParameter("--tree and --timeline are two pictures: ask for one")
    place = read_place(what)
    if (tree or timeline) and (place is not None or "/" in what):
        raise typer.BadParameter(
            "--tree and --timeline are of a run, and this names a record: name its run"
        )
    if place is None and "/" not in what:
        chosen = which.selection(run=[what])
        async with opened(chosen, from_file=from_file, all_topics=all_topics) as found:
            return await show_run(found, tree=tree, timeline=timeline, raw=raw, json=json)
    if place is not None:
        chosen = which.selection(
            partition=[place.partition], offsets=which.Offsets(place.offset, place.offset)
        )
        others = bool(place.topic)
    else:
        chosen, others = which.selection(run=[what.partition("/")[0]]), all_topics
    async with opened(chosen, from_file=from_file, all_topics=others) as found:
        return await show_found(found, what, place, raw=raw, json=json)
    return Exit.OK
