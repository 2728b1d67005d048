"""Reading partitions of checkpoints: once to their ends, or on and on.

Both with clients of their own, which meet the brokers anew. Positions are told after each batch, so
that whoever fails half-way goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from starlings.kafka.connection import Connection
from starlings.kafka.starting import start_client

log = structlog.get_logger(__name__)

Take = Callable[[ConsumerRecord], Awaitable[None]]
Position = Callable[[int, int], None]

_BATCH = 2_000
_POLL_MS = 200
_STALLED_S = 30.0  # without a single batch
_LOOK_EVERY_S = 0.5
_LOOK_WITHIN_S = 2.0
_AGAIN_AFTER_S = 0.5
_STOP_WITHIN_S = 2.0


async def read_to_end(
    connection: Connection,
    topic: str,
    begin: Mapping[int, int],
    take: Take,
    position: Position,
) -> None:
    """Read partitions from where each is known up to their present ends.

    Raises:
        KafkaError: Kafka is away.
        TimeoutError: nothing arrives.
    """
    if not begin:
        return
    async with _reader(connection, topic, begin) as (consumer, ends):
        loop = asyncio.get_running_loop()
        alive = loop.time()
        left = dict(ends)
        while left:
            for place, end in list(left.items()):
                at = await consumer.position(place)
                position(place.partition, at)
                if at >= end:
                    del left[place]
            if not left:
                return
            if await _take_batch(consumer, take):
                alive = loop.time()
            elif loop.time() - alive > _STALLED_S:
                raise TimeoutError(f"reading back {topic} stalled before {left}")


class Following:
    """Reads partitions until cancelled, and tells whenever it has all that is there."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        begin: Mapping[int, int],
        take: Take,
        position: Position,
        current: Callable[[], None],
    ) -> None:
        self.partitions = frozenset(begin)
        self._connection = connection
        self._topic = topic
        self._next = dict(begin)
        self._take = take
        self._position = position
        self._current = current
        self._task = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """Stop soon."""
        self._task.cancel()

    async def close(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async with _reader(self._connection, self._topic, self._next) as (consumer, _):
                    await self._read(consumer)
            except Exception as error:
                log.warning("following goes on soon", topic=self._topic, error=repr(error))
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        looked = 0.0
        while True:
            await _take_batch(consumer, self._take)
            for place in consumer.assignment():
                self._next[place.partition] = await consumer.position(place)
                self._position(place.partition, self._next[place.partition])
            if loop.time() - looked >= _LOOK_EVERY_S:
                looked = loop.time()
                async with asyncio.timeout(_LOOK_WITHIN_S):
                    ends = await consumer.end_offsets(list(consumer.assignment()))
                if all(self._next[place.partition] >= end for place, end in ends.items()):
                    self._current()


async def _take_batch(consumer: AIOKafkaConsumer, take: Take) -> bool:
    batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
    for records in batches.values():
        for record in records:
            await take(record)
        await asyncio.sleep(0)  # a long partition must not starve the steps at work
    return bool(batches)


@asynccontextmanager
async def _reader(
    connection: Connection, topic: str, begin: Mapping[int, int]
) -> AsyncGenerator[tuple[AIOKafkaConsumer, dict[TopicPartition, int]]]:
    consumer = connection.consumer()
    places = {TopicPartition(topic, partition): start for partition, start in begin.items()}
    try:
        consumer.assign(list(places))
        await start_client(consumer)
        begins = await consumer.beginning_offsets(list(places))
        ends = await consumer.end_offsets(list(places))
        for place, start in places.items():
            # beyond the end: the log lost its end, or was made anew
            consumer.seek(place, start if begins[place] <= start <= ends[place] else begins[place])
        yield consumer, ends
    finally:
        stopping = asyncio.ensure_future(consumer.stop())
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({stopping}, timeout=_STOP_WITHIN_S)
        stopping.cancel()
