"""The log of a knowledge base: a compacted topic on Kafka, or a list within one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from starlings import StepFailed, TransientError
from starlings.agents.service import AgentSettings
from starlings.blobs import BlobStore
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.messages import ConfigError
from starlings.service import load_settings

from .changes import KnowledgeChange, Positions
from .settings import KnowledgeSettings

AWAY = "knowledge_unavailable"
_POLL_MS = 200
_BATCH = 500


@dataclass(frozen=True)
class Record:
    """One word about a document, and its place."""

    partition: int
    offset: int
    document: str
    value: bytes | None


Take = Callable[[Sequence[Record], Positions], Awaitable[None]]


class KnowledgeLog(Protocol):
    """Where changes are said and read.

    `append` returns positions behind what it has said, when that is safe. `read` hands over what
    lies behind positions, batch by batch with the positions after each, until the end or for so
    many seconds; it returns the ends as they were when it began. Where the log ends before a
    position, it is another log: reading begins at its beginning, and `start_anew` is awaited first.
    """

    name: str
    store: Path | None  # where its reader keeps its store; None: where the settings say

    async def append(self, changes: Sequence[KnowledgeChange]) -> dict[int, int]:
        """Say changes."""

    async def read(
        self, positions: Positions, take: Take, *, start_anew: Callable[[], Awaitable[None]],
        for_s: float,
    ) -> dict[int, int]:  # fmt: skip
        """Read on."""


class MemoryLog:
    """A log within one process, for tests and notebooks."""

    def __init__(self, folder: Path) -> None:
        self.name = f"memory/{folder}"
        self.store: Path | None = folder / "store.sqlite"
        self.records: list[Record] = []

    async def append(self, changes: Sequence[KnowledgeChange]) -> dict[int, int]:
        """Say changes."""
        for change in changes:
            value = change.model_dump_json().encode()
            self.records.append(Record(0, len(self.records), change.document, value))
        return {0: len(self.records)}

    async def read(
        self, positions: Positions, take: Take, *, start_anew: Callable[[], Awaitable[None]],
        for_s: float,
    ) -> dict[int, int]:  # fmt: skip
        """Read on; it takes no time."""
        del for_s
        end = len(self.records)
        start = positions.get(0, 0)
        if start > end:
            await start_anew()
            start = 0
        if start < end:
            await take(self.records[start:end], {0: end})
        return {0: end}


_memory: ContextVar[MemoryLog | None] = ContextVar("starlings_knowledge_log", default=None)


@contextmanager
def knowledge_in_memory() -> Iterator[MemoryLog]:
    """Let the agents of runs that begin in this block use a log in memory instead of Kafka."""
    with TemporaryDirectory(prefix="starlings-knowledge-") as folder:
        log = MemoryLog(Path(folder))
        token = _memory.set(log)
        try:
            yield log
        finally:
            _memory.reset(token)


def knowledge_log() -> KnowledgeLog:
    """Say which log the agents use here."""
    return _memory.get() or KafkaLog()


class KafkaLog:
    """A compacted topic."""

    def __init__(self) -> None:
        self.store: Path | None = None
        self._settings = load_settings(AgentSettings)
        self._spec = self._settings.topics.own_spec(load_settings(KnowledgeSettings).topic)
        self._connection = Connection(load_settings(KafkaSettings), client_id="starlings-knowledge")
        self.name = f"{self._connection.bootstrap}/{self._spec.name}"

    async def append(self, changes: Sequence[KnowledgeChange]) -> dict[int, int]:
        """Say changes."""
        async with _explained(), self._publisher() as publisher:
            await self._partitions()
            sent = [self._publish(publisher, change) for change in changes]
            places = await asyncio.gather(*sent)
        ends: dict[int, int] = {}
        for place in places:
            ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
        return ends

    async def _publish(self, publisher: Publisher, change: KnowledgeChange) -> Any:
        stamp = change.at.isoformat()
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", f"knowledge.{change.change}".encode()),
            ("ce_id", f"{change.by}/{change.document}".encode()),
            ("ce_source", b"starlings/knowledge"),
            ("ce_time", stamp.encode()),
        ]
        value = change.model_dump_json().encode()
        return await publisher.forward(
            self._spec.name, change.document.encode(), value, headers=headers
        )

    @asynccontextmanager
    async def _publisher(self) -> AsyncGenerator[Publisher]:
        blobs = BlobStore(self._settings.blobs_url)
        publisher = Publisher(self._connection, Codec(source="starlings/knowledge", blobs=blobs))
        await publisher.start()
        try:
            yield publisher
        finally:
            await publisher.stop()

    async def _partitions(self) -> list[int]:
        topic = self._spec.name
        found = (await self._connection.find_topics([topic]))[topic]
        if found.missing and self._settings.ensure_topics:
            await ensure_topics(self._connection, [self._spec])
        elif found.missing:
            raise StepFailed(
                f"topic {topic} is missing: run `starlings topics ensure --agent knowledge`, or "
                "set STARLINGS_ENSURE_TOPICS=true",
                code=AWAY,
            )
        else:
            return sorted(found.partitions)
        return sorted(await self._connection.partitions(topic))

    async def read(
        self, positions: Positions, take: Take, *, start_anew: Callable[[], Awaitable[None]],
        for_s: float,
    ) -> dict[int, int]:  # fmt: skip
        """Read on."""
        async with _explained(), self._connection.reading() as consumer:
            places = [TopicPartition(self._spec.name, n) for n in await self._partitions()]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            begins = await consumer.beginning_offsets(places)
            if any(positions.get(place.partition, 0) > ends[place] for place in places):
                await start_anew()
                positions = {}
            at = {p: max(positions.get(p.partition, 0), begins[p]) for p in places}
            for place, offset in at.items():
                consumer.seek(place, offset)
            until = time.monotonic() + for_s
            while any(at[p] < ends[p] for p in places) and time.monotonic() < until:
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
                for place in places:
                    at[place] = await consumer.position(place)
                records = [
                    Record(r.partition, r.offset, (r.key or b"").decode(errors="replace"), r.value)
                    for batch in batches.values()
                    for r in batch
                ]
                await take(records, {p.partition: offset for p, offset in at.items()})
        return {place.partition: int(end) for place, end in ends.items()}


@asynccontextmanager
async def _explained() -> AsyncGenerator[None]:
    try:
        yield
    except ConfigError as error:
        raise StepFailed(str(error), code=AWAY) from None
    except (KafkaError, OSError) as error:
        said = str(error) or type(error).__name__
        raise TransientError(f"Kafka does not answer: {said}", code=AWAY) from None
