"""Where recorded records come from: Kafka, or a file that was exported from it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from aiokafka import ConsumerRecord

from starlings.kafka.connection import Connection

from .archive import Archive
from .ranges import Range
from .reading import LogReader


class Source(Protocol):
    """Records of some ranges, those of one partition in their order."""

    @property
    def ranges(self) -> Sequence[Range]:
        """What was asked for."""

    def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""


class KafkaSource:
    """Ranges of topics on Kafka."""

    def __init__(
        self,
        connection: Connection,
        ranges: Sequence[Range],
        *,
        follow: bool = False,
        by_time: bool = False,
    ) -> None:
        self.ranges = ranges
        self._reader = LogReader(connection, ranges, follow=follow, by_time=by_time)

    def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""
        return self._reader.records()


class ArchiveSource:
    """The records of an archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.ranges: Sequence[Range] = archive.header.ranges

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records."""
        for record in self.archive:
            yield record


def cuts(source: Source) -> list[Range]:
    """List the ranges whose beginning may have been deleted."""
    return [found for found in source.ranges if found.is_cut]
