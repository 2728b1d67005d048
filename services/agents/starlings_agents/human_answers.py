"""Where answers to forms come from: the log of runs on Kafka, or memory within one process.

An answer is a signal among a run's facts, named after its step. Many forms wait, in few partitions:
what lies in a partition is read once for all of them, at most every second, and remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from starlings.blobs import BlobStore
from starlings.form_answers import Answer, Answers, answers_here
from starlings.forms import answer_name
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import SignalReceived, UndecodableMessage, header, run_key
from starlings.service import ServiceSettings, load_settings

READ_FOR_S = 4.0
FRESH_FOR_S = 1.0
BEFORE_MS = 60_000  # the clocks of those who ask and of those who answer differ
REMEMBERED = 10_000
_POLL_MS = 200

_Key = tuple[str, str]


def answers() -> Answers:
    """Say where answers come from here."""
    return answers_here() or _log()


@lru_cache(maxsize=1)
def _log() -> LogAnswers:
    return LogAnswers(Connection(load_settings(KafkaSettings), client_id="starlings-human"))


@dataclass
class _Partition:
    """What is known of a partition: everything from `begin` up to `end`."""

    begin: int = 0
    end: int = 0
    read_at: float = float("-inf")
    found: OrderedDict[int, tuple[_Key, Answer]] = field(default_factory=OrderedDict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def full(self) -> bool:
        """Whether no more is read before somebody has looked at what is here."""
        return len(self.found) >= 2 * REMEMBERED

    def forget(self) -> None:
        """Let the oldest go, before a read: whoever reads has to see all of what it read."""
        while len(self.found) > REMEMBERED:
            self.begin = self.found.popitem(last=False)[0] + 1


class LogAnswers:
    """Answers among the facts of runs on Kafka."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._partitions: dict[int, _Partition] = {}
        self._numbers: list[int] = []

    async def since(
        self,
        run_id: str,
        step_id: str,
        position: int | None,
        *,
        asked_at: datetime | None = None,
    ) -> tuple[list[Answer], int]:
        """Look."""
        settings = load_settings(ServiceSettings)
        topic = settings.topics.events
        if not self._numbers:
            self._numbers = sorted(await self._connection.partitions(topic))
        number = int(DefaultPartitioner()(run_key(run_id), self._numbers, self._numbers))
        known = self._partitions.setdefault(number, _Partition())
        async with known.turn:
            if position is None:
                position = await self._start(TopicPartition(topic, number), asked_at)
            stale = time.monotonic() - known.read_at > FRESH_FOR_S
            if stale or not known.begin <= position <= known.end:
                codec = Codec(source="starlings/human", blobs=BlobStore(settings.blobs_url))
                await self._read_on(TopicPartition(topic, number), known, position, codec)
        wanted = (run_id, answer_name(step_id))
        fits = [a for o, (key, a) in known.found.items() if o >= position and key == wanted]
        return fits, max(position, known.end)

    async def _start(self, place: TopicPartition, asked_at: datetime | None) -> int:
        """Find the place from which the answers of a form can lie, be it looked at late."""
        now_s = time.time()
        asked_s = now_s if asked_at is None else min(asked_at.timestamp(), now_s)
        at_ms = max(int(asked_s * 1_000) - BEFORE_MS, 0)
        async with self._connection.reading() as consumer:
            found = (await consumer.offsets_for_times({place: at_ms})).get(place)
            ends = await consumer.end_offsets([place])
            return int(found.offset if found else ends[place])

    async def _read_on(
        self, place: TopicPartition, known: _Partition, position: int, codec: Codec
    ) -> None:
        known.forget()
        async with self._connection.reading() as consumer:
            consumer.assign([place])
            begin = (await consumer.beginning_offsets([place]))[place]
            end = (await consumer.end_offsets([place]))[place]
            position = max(position, begin)
            if not known.begin <= position <= known.end or known.end > end:
                known.begin = known.end = min(position, end)
                known.found.clear()
            consumer.seek(place, known.end)
            until = time.monotonic() + READ_FOR_S
            while known.end < end and not known.full and time.monotonic() < until:
                await _take(consumer, place, known, codec)
        known.read_at = time.monotonic()


async def _take(
    consumer: AIOKafkaConsumer, place: TopicPartition, known: _Partition, codec: Codec
) -> None:
    batches = await consumer.getmany(place, timeout_ms=_POLL_MS)
    for record in batches.get(place, []):
        if header(record.headers, "ce_type") == SignalReceived.CE_TYPE:
            await _remember(record, known, codec)
    known.end = await consumer.position(place)


async def _remember(record: ConsumerRecord, known: _Partition, codec: Codec) -> None:
    try:
        received = await codec.decode(record)
    except UndecodableMessage:
        return  # anybody may write to the log
    signal = received.message if received is not None else None
    if not isinstance(signal, SignalReceived) or not signal.name.startswith("answer."):
        return
    key = (signal.run_id, signal.name)
    known.found[record.offset] = (key, Answer(signal.payload, signal.sent_by))
