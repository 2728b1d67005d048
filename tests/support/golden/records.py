"""Recorded logs as records of Kafka, and as archives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.messages import Topics
from starlings.replay import ArchiveHeader, Range, create_archive
from starlings.replay.entries import Entry, EntryReader

from .replay import read_lines

LOGS = Path(__file__).parents[2] / "golden" / "logs"
PREFIX = "starlings."
TOPICS = Topics(PREFIX)
READER = EntryReader(Codec(source="test", blobs=BlobStore("file:///nonexistent/blobs")), TOPICS)


def kafka_record(line: dict[str, Any], **changes: Any) -> ConsumerRecord:
    """Make the record that a line of a recorded log was."""
    headers = line["headers"]
    fields = {
        "topic": TOPICS.events,
        "partition": 0,
        "offset": line["offset"],
        "timestamp": line["timestamp"],
        "timestamp_type": 1,
        "key": headers["ce_subject"].encode(),
        "value": json.dumps(line["value"], separators=(",", ":")).encode(),
        "checksum": None,
        "serialized_key_size": -1,
        "serialized_value_size": -1,
        "headers": tuple((name, value.encode()) for name, value in headers.items()),
    }
    return ConsumerRecord(**fields | changes)


def golden_records(name: str) -> list[ConsumerRecord]:
    """Give a recorded log as records."""
    return [kafka_record(line) for line in read_lines(LOGS / f"{name}.jsonl")]


async def golden_entries(name: str) -> list[Entry]:
    """Give a recorded log as entries, as they were read."""
    return [await READER.read(record) for record in golden_records(name)]


def write_archive(path: Path, records: Iterable[ConsumerRecord], *, begin: int = 0) -> Path:
    """Write records as an archive; what lay before `begin` had been deleted by retention."""
    kept = list(records)
    header = ArchiveHeader(prefix=PREFIX, ranges=_ranges(kept, begin))
    with create_archive(path, header) as writer:
        for record in kept:
            writer.write(record)
    return path


def _ranges(records: list[ConsumerRecord], begin: int) -> list[Range]:
    ends: dict[tuple[str, int], int] = {}
    for record in records:
        ends[record.topic, record.partition] = record.offset + 1
    begin_ms = records[0].timestamp if records else None
    return [
        Range(topic=topic, partition=p, begin=begin, begin_ms=begin_ms, first=begin, end=end)
        for (topic, p), end in sorted(ends.items())
    ]
