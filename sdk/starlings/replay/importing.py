"""Laying an archive on topics again: under another prefix, in order, marked as a replay.

Rules:
- The whole file is examined before the first record is written: one that was cut off, or of which
  offsets are missing, lays nothing.
- Nobody works on what is imported: a topic of an installation, or one that holds something, is
  refused unless that is asked for in so many words (`into_live`).
- Records keep key, value, headers and, on topics that are made here, their time; all of a key go to
  one partition in their order. Each carries the header that says that it is a replay.
- Snapshots are left out: they name offsets of the log that they were written to. Whoever reads the
  copy folds it from the plans on.
- A producer that sends in order, and a bounded number of records under way: memory does not grow
  with the file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection
from starlings.kafka.publisher import publish_error
from starlings.kafka.starting import start_client
from starlings.messages import (
    REPLAY_HEADER,
    ConfigError,
    Headers,
    RunSnapshot,
    Topics,
    TopicSpec,
)

from .archive import Archive, ArchiveDamaged
from .selection import named_run, named_type

UNDER_WAY = 5_000
STOP_WITHIN_S = 10.0
SELECTED = "selected"  # field of an archive's header: records were chosen, so gaps mean nothing
HOLDS = "holds"  # of an incident's: so many records of one run, by topic, and those beside it not
_GAPS_SHOWN = 4
#: Times are kept as they are told, and no retention counts them as old.
COPY_SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
}


@dataclass
class Examined:
    """What an archive holds."""

    records: int = 0
    repeated: int = 0
    snapshots: int = 0
    gaps: list[str] = field(default_factory=list)
    partitions: Counter[str] = field(default_factory=Counter)  # by topic


def examine(archive: Archive) -> Examined:
    """Read an archive from its first to its last line.

    Raises:
        ArchiveDamaged: it is not whole.
    """
    found, ends = Examined(), dict[TopicPartition, int]()
    counts: Counter[str] = Counter()
    firsts: dict[TopicPartition, int] = {}
    for each in archive.header.ranges:
        found.partitions[each.topic] = max(found.partitions[each.topic], each.partition + 1)
    for record in archive:
        place = TopicPartition(record.topic, record.partition)
        firsts.setdefault(place, record.offset)
        ends[place] = record.offset + 1
        found.partitions[place.topic] = max(found.partitions[place.topic], place.partition + 1)
        found.records += 1
        counts[record.topic] += 1
        found.snapshots += named_type(record) == RunSnapshot.NAME
    found.repeated = archive.repeated
    extra = archive.header.model_extra or {}
    if isinstance(held := extra.get(HOLDS), dict):
        found.gaps = list(_missing_of_one_run(held, counts))
    elif not extra.get(SELECTED):
        found.gaps = [_gap(*gap) for gap in archive.gaps]
        found.gaps += _missing_at_the_ends(archive, firsts, ends)
    return found


def _missing_at_the_ends(
    archive: Archive, firsts: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> list[str]:
    """Compare what is there with what the header says that it should be."""
    missing = []
    for each in archive.header.ranges:
        first, end = firsts.get(each.place, each.end), ends.get(each.place, each.end)
        if each.first < first:
            missing.append(_gap(each.place, each.first, first))
        if end < each.end:
            missing.append(_gap(each.place, end, each.end))
    return missing


def _missing_of_one_run(held: dict[str, Any], there: Counter[str]) -> Iterator[str]:
    for topic, count in held.items():
        if isinstance(count, int) and there[topic] < count:
            yield f"{count - there[topic]:,} of {count:,} records of {topic}"


def _gap(place: TopicPartition, first: int, end: int) -> str:
    return f"{place.topic}/{place.partition} {first:,}..{end - 1:,}"


def check_gaps(archive: Archive, examined: Examined) -> None:
    """Refuse a log of which something is missing.

    Raises:
        ArchiveDamaged: naming offsets that are not there.
    """
    if examined.gaps:
        shown = "; ".join(examined.gaps[:_GAPS_SHOWN])
        more = len(examined.gaps) - _GAPS_SHOWN
        told = shown + (f"; and {more:,} more stretches" if more > 0 else "")
        raise ArchiveDamaged(
            f"{archive.path}: records are missing: {told}; nothing was imported. "
            "Export it anew, or import what there is with --with-gaps"
        )


class Import:
    """Lays an archive that was examined on the topics of a prefix."""

    def __init__(
        self, connection: Connection, archive: Archive, examined: Examined, target: Topics
    ) -> None:
        self.imported = 0
        self._connection = connection
        self._archive = archive
        self._examined = examined
        self._target = target
        self.topics = {name: self._renamed(name) for name in sorted(examined.partitions)}
        self._counts: dict[str, int] = {}

    def _renamed(self, topic: str) -> str:
        prefix = self._archive.header.prefix
        if not topic.startswith(prefix):
            raise ArchiveDamaged(
                f"{self._archive.path}: {topic} does not begin with {prefix!r}, as the header says"
            )
        return self._target.prefix + topic[len(prefix) :]

    async def check_not_in_use(self) -> None:
        """Refuse topics on which somebody may work, or on which something lies.

        Raises:
            ConfigError: naming one.
        """
        found = await self._connection.find_topics([self._target.agents, *self.topics.values()])
        if not found[self._target.agents].missing:
            raise ConfigError(
                f"the prefix {self._target.prefix!r} is that of an installation (there is "
                f"{self._target.agents}); choose another one, or say --into-live"
            )
        there = [name for name in self.topics.values() if not found[name].missing]
        places = [TopicPartition(name, p) for name in there for p in found[name].partitions]
        if not places:
            return
        async with self._connection.reading() as consumer:
            ends = await consumer.end_offsets(places)
        for place, end in sorted(ends.items()):
            if end:
                raise ConfigError(
                    f"{place.topic} is not empty; import under another --prefix, or delete it"
                )

    async def run(self) -> None:
        """Make the topics that are missing, and write all records.

        Raises:
            StarlingsError: Kafka took a record not; `imported` tells how many it took before.
        """
        await self._make_topics()
        producer = self._connection.producer()
        try:
            await start_client(producer)
            await self._write(producer)
        except KafkaError as error:
            raise publish_error(f"the topics of {self._target.prefix!r}", error) from error
        finally:
            await _stop(producer)

    async def _make_topics(self) -> None:
        """Make them with as many partitions as they had, so that keys meet as they did."""
        wanted = {new: self._examined.partitions[old] for old, new in self.topics.items()}
        found = await self._connection.find_topics(list(wanted))
        specs = [
            TopicSpec(name, count, COPY_SETTINGS, "imported from an archive")
            for name, count in wanted.items()
            if found[name].missing
        ]
        if specs:
            await ensure_topics(self._connection, specs)
        found = await self._connection.find_topics(list(wanted))
        self._counts = {name: len(found[name].partitions) or wanted[name] for name in wanted}

    async def _write(self, producer: AIOKafkaProducer) -> None:
        under_way: deque[asyncio.Future[Any]] = deque()
        try:
            for record in self._archive:
                if named_type(record) == RunSnapshot.NAME:
                    continue
                under_way.append(await self._send(producer, record))
                if len(under_way) >= UNDER_WAY:
                    await self._acknowledged(under_way, UNDER_WAY // 2)
            await self._acknowledged(under_way, 0)
        finally:
            for each in under_way:
                each.cancel()

    async def _send(
        self, producer: AIOKafkaProducer, record: ConsumerRecord
    ) -> asyncio.Future[Any]:
        topic = self.topics[record.topic]
        partition = None if record.key is not None else record.partition % self._counts[topic]
        sent: asyncio.Future[Any] = await producer.send(
            topic,
            record.value,
            key=record.key,
            partition=partition,
            timestamp_ms=record.timestamp,
            headers=marked(record),
        )
        return sent

    async def _acknowledged(self, under_way: deque[asyncio.Future[Any]], until: int) -> None:
        while len(under_way) > until:
            await under_way[0]
            under_way.popleft()
            self.imported += 1


async def _stop(producer: AIOKafkaProducer) -> None:
    """Disconnect; a producer whose broker is away would wait for it without end."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=STOP_WITHIN_S)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


def marked(record: ConsumerRecord) -> Headers:
    """Give a record's headers with the mark of a replay before them."""
    mark = f"import of {named_run(record) or record.topic}".encode()
    return [(REPLAY_HEADER, mark), *(h for h in record.headers if h[0] != REPLAY_HEADER)]


def check_target(archive: Archive, *, target: str | None, live: Topics, into_live: bool) -> Topics:
    """Say under which prefix to import.

    Raises:
        ConfigError: none was named, or one that is in use.
    """
    if target is None and not into_live:
        raise ConfigError(
            "say where to: --prefix copy. makes topics of its own for the import; nothing is "
            "written to those of this installation unless you say --into-live"
        )
    try:
        chosen = live if target is None else Topics(target)
    except ConfigError:
        raise ConfigError(
            f"--prefix {target!r} has characters that Kafka forbids; take letters, digits, '.', "
            "'_' or '-'"
        ) from None
    of = {live.prefix: "this installation", archive.header.prefix: "the archive's own installation"}
    if chosen.prefix in of and not into_live:
        raise ConfigError(
            f"{chosen.prefix!r} is the prefix of {of[chosen.prefix]}: its coordinator and agents "
            "would take the import for news; choose another --prefix, or say --into-live"
        )
    return chosen
