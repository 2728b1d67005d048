"""Where commands that fold runs again read: the live log, or an archive of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlings.blobs import BlobStore
from starlings.client import Client
from starlings.kafka.codec import Codec
from starlings.messages import Topics
from starlings.replay import ArchiveSource, KafkaSource, Range, Source, ranges_of, read_archive
from starlings.replay.carried_blobs import blobs_of
from starlings.service import ServiceSettings, load_settings

from .event_source import latest_in
from .following import latest_run
from .options import LATEST
from .reach import client


@dataclass(frozen=True)
class Log:
    """Facts of runs, and how to read them again from the beginning."""

    topics: Topics
    codec: Codec
    runs: tuple[str, ...]
    events: Source
    kafka: Client | None = None
    chosen: bool = False  # records of one run, of an incident

    async def works(self) -> Sequence[Range]:
        """Find the topics on which agents get their work."""
        if self.kafka is None:
            return self.events.ranges
        names = await self.kafka.connection.topic_names()
        wanted = sorted(name for name in names if self.topics.agent_of(name) is not None)
        return await ranges_of(self.kafka.connection, wanted)

    def read(self, ranges: Sequence[Range]) -> Source:
        """Open records once more, or other ones."""
        if self.kafka is not None:
            return KafkaSource(self.kafka.connection, ranges)
        return self.events


@asynccontextmanager
async def open_log(
    runs: Collection[str] = (),
    *,
    from_file: Path | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> AsyncGenerator[Log]:
    """Open the facts of runs, or of all; `latest` is replaced by the name of that run."""
    if from_file is not None:
        archive = read_archive(from_file)
        store = BlobStore(load_settings(ServiceSettings).blobs_url)
        known = tuple(latest_in(archive) if name == LATEST else name for name in runs)
        with blobs_of(archive, store) as blobs:
            codec = Codec(source="starlings/cli", blobs=blobs)
            topics = Topics(archive.header.prefix)
            chosen = "starlings_incident" in (archive.header.model_extra or {})
            yield Log(topics, codec, known, ArchiveSource(archive), chosen=chosen)
        return
    async with client() as kafka:
        named = tuple([await latest_run(kafka) if name == LATEST else name for name in runs])
        numbers = sorted({kafka.partition_of(name) for name in named})
        ranges = await ranges_of(
            kafka.connection,
            [kafka.topics.events],
            partitions={kafka.topics.events: numbers} if named else None,
            since_ms=since_ms,
            until_ms=until_ms,
        )
        source_of_events = KafkaSource(kafka.connection, ranges)
        yield Log(kafka.topics, kafka.codec, named, source_of_events, kafka=kafka)
