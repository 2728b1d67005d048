"""Waiting for an event on any Kafka topic, or for the end of another run.

A poke reads on from where the last one stopped: the positions are the sensor's state, so no event
is missed between two pokes, whichever instance makes them. The first poke is made while the step is
taken, so `from: now` means the moment at which the step began.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from pydantic import AwareDatetime, Field, JsonValue

from starlings import Ready, Waiting
from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import RunDone, RunOutcome, header, run_key
from starlings.service import ServiceSettings, load_settings

from .sensor_conditions import MISSING, Looked, Pointer, at, same

READ_FOR_S = 4.0
_POLL_MS = 200
_BATCH = 2_000

Offsets = dict[int, int]
Wanted = Callable[[ConsumerRecord], bool]


class EventArrives(Looked):
    """An event that fits arrives on a topic; all that is given has to fit."""

    wait_for: Literal["event"]
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="its full name")
    where: dict[Pointer, JsonValue] = Field(
        default_factory=dict,
        description="JSON Pointers into the event's value, and what has to be there",
    )
    key: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    start: Literal["now", "earliest"] | AwareDatetime = Field(
        default="now", alias="from", description="now, earliest, or a time"
    )
    every_s: float = Field(default=2.0, ge=0.1, le=86_400, allow_inf_nan=False)


class RunEnds(Looked):
    """Another run has ended."""

    wait_for: Literal["run"]
    run_id: str = Field(min_length=1, max_length=128)
    outcomes: list[RunOutcome] = Field(
        default_factory=list, description="go on waiting after any other end; empty: any end"
    )
    every_s: float = Field(default=2.0, ge=0.1, le=86_400, allow_inf_nan=False)


async def poke_event(condition: EventArrives, state: JsonValue) -> Ready | Waiting:
    """Read on, up to the first event that fits."""
    scan = await _scan(
        condition.topic,
        None,
        _positions(state),
        lambda record: _fits(condition, record),
        begin=condition.start,
    )
    if scan.found is None:
        return scan.waiting(condition.every_s)
    record = scan.found
    output = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": record.key.decode(errors="replace") if record.key is not None else None,
        "value": _value(record),
    }
    place = f"{record.topic}/{record.partition}/{record.offset}"
    return Ready(output, summary=f"an event at {place}")


async def poke_run(condition: RunEnds, state: JsonValue) -> Ready | Waiting:
    """Read on in the run's partition, up to an end that is wanted."""
    settings = load_settings(ServiceSettings)
    key, topic = run_key(condition.run_id), settings.topics.events
    there = sorted(await _connection().partitions(topic))
    partition = int(DefaultPartitioner()(key, there, there))
    positions = _positions(state)
    while True:
        scan = await _scan(
            topic, [partition], positions, lambda record: _is_end(record, key), begin="earliest"
        )
        if scan.found is None:
            return scan.waiting(condition.every_s)
        codec = Codec(source="starlings/sensor", blobs=BlobStore(settings.blobs_url))
        received = await codec.decode(scan.found)
        done = received.message if received is not None else None
        if isinstance(done, RunDone) and (
            not condition.outcomes or done.outcome in condition.outcomes
        ):
            return _ended(done)
        positions = scan.positions


def _ended(done: RunDone) -> Ready:
    said = {"run_id": done.run_id, "outcome": str(done.outcome)}
    return Ready(
        {**said, "text": done.text, "output": done.output},
        summary=f"run {done.run_id}: {done.outcome}",
    )


# -- what fits -------------------------------------------------------------------------------------


def _fits(condition: EventArrives, record: ConsumerRecord) -> bool:
    if record.value is None:
        return False
    if condition.key is not None and (record.key or b"") != condition.key.encode():
        return False
    if any(header(record.headers, name) != value for name, value in condition.headers.items()):
        return False
    if not condition.where:
        return True
    value = _value(record)
    found = ((at(value, pointer), wanted) for pointer, wanted in condition.where.items())
    return all(there is not MISSING and same(there, wanted) for there, wanted in found)


def _value(record: ConsumerRecord) -> Any:
    text = (record.value or b"").decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_end(record: ConsumerRecord, key: bytes) -> bool:
    return bool(record.key == key and header(record.headers, "ce_type") == RunDone.CE_TYPE)


# -- reading on ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scan:
    found: ConsumerRecord | None
    positions: Offsets
    at_end: bool

    def waiting(self, every_s: float) -> Waiting:
        state = {str(partition): offset for partition, offset in self.positions.items()}
        return Waiting(state=state, retry_after_s=every_s if self.at_end else 0.0)


def _positions(state: JsonValue) -> Offsets:
    if not isinstance(state, dict):
        return {}
    return {int(name): offset for name, offset in state.items() if isinstance(offset, int)}


async def _scan(
    topic: str, partitions: list[int] | None, positions: Mapping[int, int], wanted: Wanted,
    *, begin: Any,
) -> _Scan:  # fmt: skip
    """Read a topic on from known positions, for a few seconds at most."""
    connection = _connection()
    async with connection.reading() as consumer:
        numbers = partitions or sorted(await connection.partitions(topic))
        places = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        left = await _start(consumer, places, positions, ends, begin=begin)
        until = asyncio.get_running_loop().time() + READ_FOR_S
        while left and asyncio.get_running_loop().time() < until:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            for place, records in batches.items():
                for record in records:
                    if wanted(record):
                        left[place] = record.offset + 1
                        return _Scan(record, _told(positions, places, left, ends), at_end=False)
                left[place] = await consumer.position(place)
            left = {place: now for place, now in left.items() if now < ends[place]}
        return _Scan(None, _told(positions, places, left, ends), at_end=not left)


async def _start(
    consumer: AIOKafkaConsumer,
    places: list[TopicPartition],
    positions: Mapping[int, int],
    ends: Mapping[TopicPartition, int],
    *,
    begin: Any,
) -> dict[TopicPartition, int]:
    """Seek, and say where those stand that have something to read."""
    begins = await consumer.beginning_offsets(places)
    starts = begins if positions else await _first(consumer, begins, ends, begin)
    left = {}
    for place in places:
        # the log may have lost its end or its beginning, and partitions may be new
        start = positions.get(place.partition, starts[place])
        start = max(start, begins[place]) if start <= ends[place] else begins[place]
        consumer.seek(place, start)
        left[place] = start
    return left


async def _first(
    consumer: AIOKafkaConsumer,
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    begin: Any,
) -> Mapping[TopicPartition, int]:
    if begin == "earliest":
        return begins
    if begin == "now":
        return ends
    at_ms = int(begin.timestamp() * 1_000)
    found = await consumer.offsets_for_times(dict.fromkeys(ends, at_ms))
    return {place: found[place].offset if found.get(place) else ends[place] for place in ends}


def _told(
    positions: Mapping[int, int],
    places: list[TopicPartition],
    left: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> Offsets:
    return {**positions, **{p.partition: left.get(p, ends[p]) for p in places}}


@lru_cache(maxsize=1)
def _connection() -> Connection:
    return Connection(load_settings(KafkaSettings), client_id="starlings-sensor")
