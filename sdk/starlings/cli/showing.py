"""Showing a run's records, as a list, a tree or a waterfall, and one record as a whole."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import NamedTuple

from starlings.messages import ConfigError, RunRequested, StarlingsError
from starlings.replay.causes import forest
from starlings.replay.entries import Entry
from starlings.replay.timeline import timeline

from .cause_tree import print_tree, tree_document
from .event_page import print_raw, print_record
from .event_rows import entry_document, print_list, raw_line
from .event_source import Opened, tell_missing
from .exits import Exit
from .printing import console, print_json, print_json_line, write
from .waterfall import print_timeline, timeline_document

_PLACE = re.compile(r"(?:([A-Za-z0-9._-]+)/)?(\d{1,9})/(\d{1,18})")


class Place(NamedTuple):
    """Where a record lies; without a topic on `events`."""

    topic: str
    partition: int
    offset: int


def read_place(text: str) -> Place | None:
    """Read `topic/partition/offset`, or `partition/offset`; None where it is neither."""
    match = _PLACE.fullmatch(text)
    return Place(match[1] or "", int(match[2]), int(match[3])) if match else None


async def _all(found: Opened) -> list[Entry]:
    selected = found.selected()
    async with aclosing(selected.entries()) as entries:
        read = [entry async for entry in entries]
    tell_missing(found.source, selected, found.selection)
    return read


async def show_run(found: Opened, *, tree: bool, timeline: bool, raw: bool, json: bool) -> int:
    """Show the records of one run.

    Raises:
        ConfigError: there are none.
    """
    entries = await _all(found)
    run_id = next(iter(found.selection.runs))
    if not entries:
        raise ConfigError(f"there is no record of run {run_id!r}; `starlings runs` lists runs")
    if tree:
        _show_tree(found, entries, json=json)
    elif timeline:
        _show_timeline(found, run_id, entries, json=json)
    elif raw:
        for entry in entries:
            _show_raw(entry, json=json)
    elif json:
        for entry in entries:
            print_json_line(entry_document(entry))
    else:
        print_list(console(), entries, prefix=found.topics.prefix)
    return Exit.OK


def _show_tree(found: Opened, entries: list[Entry], *, json: bool) -> None:
    roots = forest(entries)
    if json:
        print_json(tree_document(roots))
    else:
        print_tree(console(), roots, found.topics.prefix)


def _show_timeline(found: Opened, run_id: str, entries: list[Entry], *, json: bool) -> None:
    facts = (
        entry.received
        for entry in entries
        if entry.received is not None
        and (
            entry.record.topic == found.topics.events
            or isinstance(entry.received.message, RunRequested)
        )
    )
    line = timeline(run_id, facts)
    if line is None:
        raise StarlingsError(
            f"the log has no plan of run {run_id}, so nothing is known of what it waited for; "
            f"`starlings events show {run_id}` lists its records"
        )
    if json:
        print_json(timeline_document(line))
    else:
        print_timeline(console(), line)


async def show_found(
    found: Opened, what: str, place: Place | None, *, raw: bool, json: bool
) -> int:
    """Show the record of an id, or at a place.

    Raises:
        ConfigError: there is none.
    """
    topics = {found.topics.events}
    if place is not None and place.topic:
        topics = {place.topic, f"{found.topics.prefix}{place.topic}"}
    for entry in await _all(found):
        if entry.record.topic in topics if place is not None else entry.id == what:
            if raw:
                _show_raw(entry, json=json)
            elif json:
                print_json(entry_document(entry))
            else:
                print_record(console(), entry)
            return Exit.OK
    raise ConfigError(
        f"there is no record {what!r}, or retention has deleted it; `starlings events ls` lists "
        "what there is"
    )


def _show_raw(entry: Entry, *, json: bool) -> None:
    if json:
        write(raw_line(entry))
    else:
        print_raw(console(), entry)
