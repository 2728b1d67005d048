"""Reading stretches of the log as records, without a group, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from starlings.kafka.connection import Connection
from starlings.kafka.starting import start_client
from starlings.messages import ConfigError, TransientError

from .ranges import Range

log = structlog.get_logger(__name__)

POLL_MS = 500
BATCH = 2_000
FULL = 2_000  # records of a partition that wait for older ones of the others
AGAIN_AFTER_S = 1.0
STALLED_S = 30.0


class LogReader:
    """Delivers the records of several ranges; those of one partition always in their order.

    With `by_time` all are delivered in the order of their timestamps; with `follow` it goes on
    after the ends for ever, and delivers what comes as it comes.

    Raises, while iterating:
        ConfigError: this user may not read a topic.
        TransientError: there is more, and nothing arrives for `stalled_s`.
    """

    def __init__(
        self,
        connection: Connection,
        ranges: Sequence[Range],
        *,
        follow: bool = False,
        by_time: bool = False,
        stalled_s: float = STALLED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._follow = follow
        self._by_time = by_time
        self._stalled_s = stalled_s
        self._clock = clock
        wanted = [r for r in ranges if follow or r.first < r.end]
        self._next = {r.place: r.first for r in wanted}
        self._ends = {r.place: r.end for r in wanted}
        self._waiting: dict[TopicPartition, deque[ConsumerRecord]] = {
            r.place: deque() for r in wanted
        }
        self._heard = clock()

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records; a connection that breaks is made anew."""
        self._heard = self._clock()
        while self._next:
            consumer = self._connection.consumer()
            try:
                await start_client(consumer)
                await self._seek(consumer)
                async with contextlib.aclosing(self._read(consumer)) as records:
                    async for record in records:
                        yield record
                if not self._follow:
                    return
            except TopicAuthorizationFailedError as error:
                topics = ", ".join(sorted({place.topic for place in self._next}))
                raise ConfigError(
                    f"this Kafka user may not read {topics}: it needs the ACL READ"
                ) from error
            except (KafkaError, OSError) as error:
                self._look_whether_stalled(error)
                log.warning("reading goes on soon", error=repr(error))
                await asyncio.sleep(AGAIN_AFTER_S)
            finally:
                await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        places = list(self._next)
        consumer.assign(places)
        begins = await consumer.beginning_offsets(places)
        for place in places:
            if begins[place] > self._next[place]:
                log.warning(
                    "records were deleted before they were read",
                    topic=place.topic,
                    partition=place.partition,
                    wanted=self._next[place],
                    earliest=begins[place],
                )
            self._next[place] = max(self._next[place], begins[place])
            consumer.seek(place, self._next[place])

    async def _read(self, consumer: AIOKafkaConsumer) -> AsyncGenerator[ConsumerRecord]:
        while self._unread():
            came = await self._poll(consumer)
            for record in self._take(all_=self._follow and not came):
                yield record
            if came:
                self._heard = self._clock()
            elif self._follow and self._is_silent():
                self._heard = self._clock()
                return  # to meet the brokers anew: a client never looks for new ones
            else:
                self._look_whether_stalled(None)
        for record in self._take(all_=True):
            yield record

    def _unread(self) -> list[TopicPartition]:
        """List the partitions of which there is more to fetch."""
        return [p for p in self._next if self._follow or self._next[p] < self._ends[p]]

    async def _poll(self, consumer: AIOKafkaConsumer) -> bool:
        """Fetch records of partitions that have few waiting; say whether any came."""
        hungry = [p for p in self._unread() if len(self._waiting[p]) < FULL]
        fetched = await consumer.getmany(*hungry, timeout_ms=POLL_MS, max_records=BATCH)
        came = False
        for place in hungry:
            ends = None if self._follow else self._ends[place]
            for record in fetched.get(place, ()):
                if ends is None or record.offset < ends:
                    self._waiting[place].append(record)
            position = await consumer.position(place)
            came = came or position > self._next[place]
            self._next[place] = position
        return came

    def _take(self, *, all_: bool) -> list[ConsumerRecord]:
        """Take what can be delivered now: by time, only what nothing older can come before."""
        taken: list[ConsumerRecord] = []
        waiting = self._waiting
        if not self._by_time:
            for records in waiting.values():
                taken += records
                records.clear()
            return taken
        unread = set(self._unread())
        while any(waiting.values()):
            if not all_ and any(not waiting[place] for place in unread):
                break
            oldest = min((r[0].timestamp, p) for p, r in waiting.items() if r)[1]
            taken.append(waiting[oldest].popleft())
        return taken

    def _is_silent(self) -> bool:
        return self._clock() - self._heard > self._stalled_s

    def _look_whether_stalled(self, error: Exception | None) -> None:
        if not self._follow and self._is_silent():
            behind = ", ".join(
                f"{p.topic}/{p.partition} at {self._next[p]} of {self._ends[p]}"
                for p in self._unread()
            )
            raise TransientError(f"reading stalled: {behind}; is Kafka well?") from error
