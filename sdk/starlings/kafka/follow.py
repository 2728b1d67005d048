"""Following a topic without a group: for control, the registry, and whoever watches runs.

A follower begins where it is told and goes on for ever. It survives a broker's restart, a client
that has gone silent, and a retention that overtakes it; what cannot be decoded is skipped with a
warning, since a watcher must not die of somebody else's message.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from starlings.messages import ConfigError, Origin, StarlingsError, TransientError

from .codec import Codec, Received
from .connection import Connection
from .hearing import HearingClock
from .starting import start_client
from .watchdog import Stalled

log = structlog.get_logger(__name__)

POLL_MS = 500
AGAIN_AFTER_S = 1.0
STOP_WITHIN_S = 5.0
STALL_S = 60.0
FETCHES = 10  # how often a large value is fetched before it is given up


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A key of a compacted topic that has been taken back."""

    origin: Origin
    key: str


class Follower:
    """An (endless) async iterator over `Received` (and `Tombstone`) of one topic.

    It begins at the beginning (`from_start`), at `offsets` by partition, at the first record that
    is not older than `since_ms` (Unix time), or else at the end. `caught_up` is set once everything
    has been delivered that lay there at the start; with `to_end` the iteration is over then, with
    `until` as soon as that is true from then on.
    `where` looks at raw records and spares the others the decoding. `hearing` is a clock that
    stands still while Kafka does not answer. Whoever leaves the loop early uses
    `async with follower`, which closes its connection.

    Raises, while iterating:
        ConfigError: the topic is missing, or this user may not read it.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topic: str,
        *,
        from_start: bool = False,
        offsets: Mapping[int, int] | None = None,
        since_ms: int | None = None,
        partitions: Sequence[int] | None = None,
        tombstones: bool = False,
        to_end: bool = False,
        until: Callable[[], bool] | None = None,
        where: Callable[[ConsumerRecord], bool] | None = None,
        stall_s: float = STALL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self.caught_up = asyncio.Event()
        self._connection = connection
        self._codec = codec
        self._from_start = from_start
        self._since_ms = since_ms
        self._next: dict[int, int] = dict(offsets or {})
        self._partitions = partitions
        self._tombstones = tombstones
        self._is_over = until or (lambda: to_end)
        self._where = where
        self._stall_s = stall_s
        self._clock = clock
        self._ends: dict[int, int] = {}
        self._fetches = 0
        self._answers: list[int | None] = []
        self.hearing = HearingClock(clock)
        self._items: AsyncGenerator[Received | Tombstone] | None = None

    async def __aenter__(self) -> Self:
        """Follow within a block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection, wherever the loop was left."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; iterating again goes on where it was."""
        items, self._items = self._items, None
        if items is not None:
            await items.aclose()

    def __aiter__(self) -> AsyncIterator[Received | Tombstone]:
        """Deliver what lies there and what comes, in the order of each partition."""
        self._items = self._follow()
        return self._items

    async def _follow(self) -> AsyncGenerator[Received | Tombstone]:
        while True:
            consumer = self._connection.consumer()
            try:
                await start_client(consumer)
                await self._assign(consumer)
                async with contextlib.aclosing(self._read(consumer)) as items:
                    async for item in items:
                        yield item
                return
            except TopicAuthorizationFailedError as error:
                raise ConfigError(
                    f"this Kafka user may not read {self.topic}: it needs the ACL READ"
                ) from error
            except (KafkaError, OSError, TransientError) as error:
                log.warning("following goes on soon", topic=self.topic, error=repr(error))
                await asyncio.sleep(AGAIN_AFTER_S)
            finally:
                await _stop(consumer)

    # -- where to begin --------------------------------------------------------------------------

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        existing = await self._connection.partitions(self.topic)
        places = [TopicPartition(self.topic, p) for p in self._partitions or existing]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        starts = begins if self._from_start else await self._starts(consumer, ends)
        for place in places:
            wanted = self._next.setdefault(place.partition, starts[place])
            self._next[place.partition] = max(wanted, begins[place])
            consumer.seek(place, self._next[place.partition])
            self._ends.setdefault(place.partition, ends[place])
        self._look_whether_caught_up()

    async def _starts(
        self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        if self._since_ms is None:
            return ends
        found = await consumer.offsets_for_times(dict.fromkeys(ends, self._since_ms))
        return {place: found[place].offset if found.get(place) else ends[place] for place in ends}

    # -- reading ---------------------------------------------------------------------------------

    async def _read(self, consumer: AIOKafkaConsumer) -> AsyncGenerator[Received | Tombstone]:
        last = self._clock()
        while not (self.caught_up.is_set() and self._is_over()):
            batch = await consumer.getmany(timeout_ms=POLL_MS)
            self._look_whether_answered(consumer)
            for place, records in batch.items():
                for record in records:
                    wanted = self._where is None or self._where(record)
                    item = await self._item(record) if wanted else None
                    self._next[place.partition] = record.offset + 1
                    if item is not None:
                        yield item
                self._next[place.partition] = await consumer.position(place)
            self._look_whether_caught_up()
            if batch:
                last = self._clock()
            elif self._clock() - last >= self._stall_s:
                await self._look_whether_stalled()
                last = self._clock()

    async def _item(self, record: ConsumerRecord) -> Received | Tombstone | None:
        if record.value is None:
            if not self._tombstones:
                return None
            origin = Origin(record.topic, record.partition, record.offset)
            return Tombstone(origin, (record.key or b"").decode(errors="replace"))
        try:
            received = await self._codec.decode(record)
        except StarlingsError as error:
            self._fetches += 1
            if error.retryable and self._fetches < FETCHES:
                raise
            log.warning("skipped a message that cannot be read", error=str(error))
            received = None
        self._fetches = 0
        return received

    def _look_whether_answered(self, consumer: AIOKafkaConsumer) -> None:
        answers = [consumer.last_poll_timestamp(place) for place in consumer.assignment()]
        if answers != self._answers:  # also where nothing new has come
            self._answers = answers
            self.hearing.answered()

    def _look_whether_caught_up(self) -> None:
        if not self.caught_up.is_set() and all(
            self._next[partition] >= end for partition, end in self._ends.items()
        ):
            self.caught_up.set()

    async def _look_whether_stalled(self) -> None:
        """Ask a fresh client whether there is more; the old one never looks for new brokers."""
        places = [TopicPartition(self.topic, number) for number in self._next]
        async with self._connection.reading() as consumer:
            ends = await consumer.end_offsets(places)
        if any(ends[place] > self._next[place.partition] for place in places):
            raise Stalled(f"nothing arrives of {self.topic}, although there is more")


async def _stop(consumer: AIOKafkaConsumer) -> None:
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({stopping}, timeout=STOP_WITHIN_S)
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
