"""Where commands about events read: topics of Kafka, or an archive; and what is missing there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from starlings.blobs import BlobStore
from starlings.client import Client
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import ConfigError, Topics
from starlings.replay import (
    Archive,
    ArchiveSource,
    KafkaSource,
    Range,
    Source,
    cuts,
    ranges_of,
    read_archive,
)
from starlings.replay.carried_blobs import blobs_of
from starlings.replay.entries import BEGINNINGS, EntryReader, Selected
from starlings.replay.importing import SELECTED
from starlings.replay.selection import Selection, named_run, named_type
from starlings.service import ServiceSettings, load_settings

from .following import latest_run
from .guard import complain
from .options import LATEST
from .reach import client
from .times import moment_text


@dataclass(frozen=True)
class Opened:
    """A source that is open, with the selection as it is now known."""

    source: Source
    topics: Topics
    reader: EntryReader
    selection: Selection
    archive: Archive | None = None
    skipped: int = 0  # records that fit as well, and were not read since only the latest are wanted

    def choices(self) -> dict[str, Any]:
        """Say what was chosen, such that records within the ranges may be missing."""
        if self.archive is None:  # ranges of Kafka are as narrow as partitions and offsets
            return replace(self.selection, partitions=frozenset(), first=None, last=None).choices()
        before = (self.archive.header.model_extra or {}).get(SELECTED) or {}
        return {**before, **self.selection.choices()}

    def selected(self) -> Selected:
        """Choose records."""
        return Selected(self.source, self.selection, self.reader)


class Live:
    """What lies in ranges, in the order of time, and then for ever what comes."""

    def __init__(self, connection: Connection, ranges: Sequence[Range]) -> None:
        self.ranges = ranges
        after = [each.model_copy(update={"first": each.end}) for each in ranges]
        self._parts = (
            KafkaSource(connection, ranges, by_time=True),
            KafkaSource(connection, after, follow=True),
        )

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""
        for part in self._parts:
            async with aclosing(part.records()) as records:
                async for record in records:
                    yield record


@asynccontextmanager
async def opened(
    selection: Selection,
    *,
    from_file: Path | None,
    all_topics: bool = False,
    follow_last: int | None = None,
    latest: int | None = None,
) -> AsyncGenerator[Opened]:
    """Open a source; `latest` among the runs is replaced by the run that began last.

    With `follow_last` it is followed live, from so many records before the end of each partition,
    or from where the selection begins. Where only the `latest` records are wanted, and everything
    fits, no more than those are read.
    """
    if from_file is not None:
        archive = read_archive(from_file)
        store = BlobStore(load_settings(ServiceSettings).blobs_url)
        with blobs_of(archive, store) as blobs:
            yield _from_archive(archive, selection, blobs)
        return
    async with client() as kafka:
        if LATEST in selection.runs:
            selection = _named(selection, await latest_run(kafka))
        ranges = await _ranges(kafka, selection, all_topics=all_topics)
        held = sum(each.end - each.first for each in ranges)
        if latest is not None and not replace(selection, partitions=frozenset()).choices():
            ranges = [_end_of(each, latest) for each in ranges]
        source: Source = KafkaSource(kafka.connection, ranges, by_time=True)
        if follow_last is not None:
            if selection.since_ms is None:
                ranges = [_end_of(each, follow_last) for each in ranges]
            source = Live(kafka.connection, ranges)
        yield Opened(
            source,
            kafka.topics,
            EntryReader(kafka.codec, kafka.topics),
            selection,
            skipped=held - sum(each.end - each.first for each in ranges),
        )


def _end_of(found: Range, last: int) -> Range:
    return found.model_copy(update={"first": max(found.first, found.end - last)})


def _named(selection: Selection, run_id: str) -> Selection:
    return replace(selection, runs=selection.runs - {LATEST} | {run_id})


def _from_archive(archive: Archive, selection: Selection, blobs: BlobStore) -> Opened:
    if LATEST in selection.runs:
        selection = _named(selection, latest_in(archive))
    topics = Topics(archive.header.prefix)
    reader = EntryReader(Codec(source="starlings/cli", blobs=blobs), topics)
    return Opened(ArchiveSource(archive), topics, reader, selection, archive)


def latest_in(archive: Archive) -> str:
    """Name the run in an archive that began last.

    Raises:
        ConfigError: no run begins there.
    """
    latest: tuple[int, str] | None = None
    for record in archive:
        run_id = named_run(record)
        if named_type(record) in BEGINNINGS and run_id is not None:
            latest = max(latest or (record.timestamp, run_id), (record.timestamp, run_id))
    if latest is None:
        raise ConfigError(f"{archive.path} has the beginning of no run: name one of its runs")
    return latest[1]


# -- on Kafka --------------------------------------------------------------------------------------


async def _ranges(kafka: Client, wanted: Selection, *, all_topics: bool) -> list[Range]:
    """Find what has to be read; of known runs only the partitions in which their facts lie."""
    events = kafka.topics.events
    numbers = sorted(wanted.partitions)
    if not numbers and wanted.runs:
        numbers = sorted({kafka.partition_of(run_id) for run_id in wanted.runs})
    end = None if wanted.last is None else wanted.last + 1
    ranges = await ranges_of(
        kafka.connection,
        [events],
        partitions={events: numbers} if numbers else None,
        since_ms=wanted.since_ms,
        until_ms=wanted.until_ms,
        first=wanted.first,
        end=end,
    )
    if not all_topics:
        return ranges
    others = await _others(kafka)
    # `until` is left to the selection: where producers tell the time, it does not only go forward
    return ranges + await ranges_of(
        kafka.connection, others, since_ms=wanted.since_ms, first=wanted.first, end=end
    )


async def _others(kafka: Client) -> list[str]:
    """Name the topics on which messages of runs lie, beside their facts."""
    topics = kafka.topics
    single = {topics.requests, topics.dead_letters}
    return sorted(
        name
        for name in await kafka.connection.topic_names()
        if name in single
        or topics.agent_of(name) is not None
        or topics.event_type_of(name) is not None
    )


# -- what is missing -------------------------------------------------------------------------------


def tell_missing(source: Source, selected: Selected, wanted: Selection) -> None:
    """Say from where the log is complete, where what was asked for has been deleted in part.

    Runs whose beginning has been seen lack nothing.
    """
    if wanted.runs and wanted.runs <= selected.begun:
        return
    missing = [each for each in cuts(source) if _reaches_before(each, wanted.since_ms)]
    if missing:
        complain(cut_text(missing, of_file=isinstance(source, ArchiveSource)))


def _reaches_before(found: Range, since_ms: int | None) -> bool:
    return since_ms is None or found.begin_ms is None or since_ms < found.begin_ms


def cut_text(missing: Sequence[Range], *, of_file: bool) -> str:
    """Say what retention has deleted, and what may help."""
    told = "; ".join(_cut_of(each) for each in missing[:4])
    more = f"; and {len(missing) - 4} more partitions" if len(missing) > 4 else ""  # noqa: PLR2004
    when = " when this archive was made" if of_file else ""
    return (
        f"what was before has been deleted by retention{when}: complete are {told}{more}. "
        "An archive that was exported earlier may have it: --from FILE"
    )


def _cut_of(found: Range) -> str:
    at = f" ({moment_text(found.begin_ms)})" if found.begin_ms is not None else ""
    return f"{found.topic}/{found.partition} from offset {found.begin:,}{at}"
