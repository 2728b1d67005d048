"""Following a topic without a group: for control, the registry, and whoever watches runs.

A follower begins where it is told and goes on for ever. It survives a broker's restart and a
retention that overtakes it; what cannot be decoded is skipped with a warning, since a watcher must
not die of somebody else's message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from starlings.messages import Origin, StarlingsError

from .codec import Codec, Received
from .connection import Connection

log = structlog.get_logger(__name__)

POLL_MS = 500
AGAIN_AFTER_S = 1.0
STOP_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key of a compacted topic that has been taken back."""

    origin: Origin
    key: str


class Follower:
    """An endless async iterator over `Received` (and `Tombstone`) of one topic.

    `from_start` begins at the beginning; else at `offsets` by partition, else at the end.
    `caught_up` is set once everything has been delivered that lay there at the start; with `to_end`
    the iteration is over then. `where` looks at raw records and spares the others the decoding.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topic: str,
        *,
        from_start: bool = False,
        offsets: Mapping[int, int] | None = None,
        partitions: Sequence[int] | None = None,
        tombstones: bool = False,
        to_end: bool = False,
        where: Callable[[ConsumerRecord], bool] | None = None,
    ) -> None:
        self.topic = topic
        self.caught_up = asyncio.Event()
        self._connection = connection
        self._codec = codec
        self._from_start = from_start
        self._next: dict[int, int] = dict(offsets or {})
        self._partitions = partitions
        self._tombstones = tombstones
        self._to_end = to_end
        self._where = where
        self._ends: dict[int, int] = {}

    async def __aiter__(self) -> AsyncIterator[Received | Tombstone]:
        """Deliver what lies there and what comes, in the order of each partition."""
        while True:
            consumer = self._connection.consumer()
            try:
                await consumer.start()
                await self._assign(consumer)
                async for item in self._read(consumer):
                    yield item
                return
            except (KafkaError, OSError) as error:
                log.warning("following goes on soon", topic=self.topic, error=repr(error))
                await asyncio.sleep(AGAIN_AFTER_S)
            finally:
                with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(consumer.stop(), STOP_WITHIN_S)

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        partitions = self._partitions
        if partitions is None:
            partitions = await self._connection.partitions(self.topic)
        places = [TopicPartition(self.topic, p) for p in partitions]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        for place in places:
            start = begins[place] if self._from_start else ends[place]
            wanted = self._next.setdefault(place.partition, start)
            self._next[place.partition] = max(wanted, begins[place])
            consumer.seek(place, self._next[place.partition])
            self._ends.setdefault(place.partition, ends[place])
        self._look_whether_caught_up()

    async def _read(self, consumer: AIOKafkaConsumer) -> AsyncIterator[Received | Tombstone]:
        while not (self._to_end and self.caught_up.is_set()):
            batch = await consumer.getmany(timeout_ms=POLL_MS)
            for place, records in batch.items():
                for record in records:
                    wanted = self._where is None or self._where(record)
                    item = await self._item(record) if wanted else None
                    self._next[place.partition] = record.offset + 1
                    if item is not None:
                        yield item
                self._next[place.partition] = await consumer.position(place)
            self._look_whether_caught_up()

    async def _item(self, record: ConsumerRecord) -> Received | Tombstone | None:
        if record.value is None:
            if not self._tombstones:
                return None
            origin = Origin(record.topic, record.partition, record.offset)
            return Tombstone(origin, (record.key or b"").decode(errors="replace"))
        try:
            return await self._codec.decode(record)
        except StarlingsError as error:
            log.warning("skipped a message that cannot be read", error=str(error))
            return None

    def _look_whether_caught_up(self) -> None:
        if not self.caught_up.is_set() and all(
            self._next[partition] >= end for partition, end in self._ends.items()
        ):
            self.caught_up.set()
