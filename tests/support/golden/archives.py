"""Recorded logs as a source, and verified."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from aiokafka import ConsumerRecord

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.replay import Range
from starlings.replay.findings import Findings
from starlings.replay.verify import verify

from .records import TOPICS

CODEC = Codec(source="test", blobs=BlobStore("file:///nonexistent/blobs"))


class Records:
    """Records as a source; what lay before `begin` has been deleted by retention."""

    def __init__(self, records: Sequence[ConsumerRecord], *, begin: int = 0) -> None:
        self._records = records
        ends = {(record.topic, record.partition): record.offset + 1 for record in records}
        self.ranges = [
            Range(topic=topic, partition=number, begin=begin, first=begin, end=end)
            for (topic, number), end in ends.items()
        ]

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        for record in self._records:
            yield record


async def verified(records: Sequence[ConsumerRecord], *, begin: int = 0, **asked: Any) -> Findings:
    """Verify records."""
    return await verify(Records(records, begin=begin), topics=TOPICS, codec=CODEC, **asked)
