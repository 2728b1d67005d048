"""The runtime under the planner and all agents: many records at work at once, out of order.

What it promises about a record:

- Its handler runs at least once, and is started again only when no end of it has reached the
  group's commit: after a crash, only records that had not finished run again.
- A record whose message id lay earlier in the same partition is a repeat: it is dropped.
- Its offset counts as done when the handler has returned or the record has been buried, never
  before.

With a `custody`, a record that is at work under a claim goes on when its partition is lost, and one
that is claimed by another member is not started.

And about the consumer: polling never stops, however long handlers take; a rebalance cancels only
what is really lost; a consumer that stalls or fails is built anew under the running handlers;
`run` ends only because `stop` was set, or it was cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition

from starlings.messages import ConfigError, Message, Origin

from .codec import Received
from .connection import Connection
from .custody import Custody
from .execution import (
    Burial,
    Cancellation,
    Counters,
    Decoder,
    Execution,
    HandedBack,
    Handler,
    Refused,
    Retry,
    cancellation,
    tried_before,
)
from .membership import ConsumerSettings, Membership
from .misconfigured import refuse_if_misconfigured
from .partition import Inheritance, Limits
from .pool import Pool
from .recent_ids import Window
from .seat import Seat

log = structlog.get_logger(__name__)

__all__ = [
    "Cancellation",
    "ConsumerSettings",
    "Counters",
    "HandedBack",
    "Inheritance",
    "Limits",
    "ParallelConsumer",
    "Refused",
    "Retry",
    "Seat",
    "Window",
    "cancellation",
    "tried_before",
]


class ParallelConsumer:
    """Consume one topic in a group, with up to `concurrency` handlers at work.

    `handler` gets what `codec` decoded; it publishes its results and awaits their acknowledgements
    before it returns. `on_undecodable` and `on_poison` bury a raw record, with its error; they too
    return when that is acknowledged. `default` is the type of messages that do not name theirs.
    """

    _membership: Membership | None = None
    _failures = 0  # in a row

    def __init__(
        self,
        connection: Connection,
        codec: Decoder,
        *,
        topic: str,
        group_id: str,
        concurrency: int,
        handler: Handler,
        on_undecodable: Burial,
        on_poison: Burial,
        default: type[Message] | None = None,
        retry: Retry | None = None,
        settings: ConsumerSettings | None = None,
        custody: Custody | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic = topic
        self.group_id = group_id
        self.concurrency = concurrency
        self.counters = Counters()
        self._connection = connection
        self._settings = settings or ConsumerSettings()
        self._clock = clock
        self._execution = Execution(
            codec, handler, default=default, retry=retry or Retry(), counters=self.counters,
            on_poison=on_poison, on_undecodable=on_undecodable, group_id=group_id
        )  # fmt: skip
        self._resting = asyncio.Event()
        self._awake = asyncio.Event()
        self._pool = self._new_pool()
        self._pool.custody = self._execution.custody = custody
        if custody is not None:
            custody.attach(self._pool)
        self._started = clock()
        self._leaving: set[asyncio.Task[None]] = set()

    def _new_pool(self) -> Pool:
        return Pool(
            self._execution.run,
            concurrency=self.concurrency,
            window=self._settings.window,
            limits=self._settings.limits,
            counters=self.counters,
        )

    # -- what can be seen and done from outside ---------------------------------------------------

    @property
    def last_loop_monotonic(self) -> float:
        """When the loop last went round, by the injected clock: the heartbeat for liveness."""
        if self._resting.is_set():
            return self._clock()
        return self._membership.last_loop_monotonic if self._membership else self._started

    @property
    def ready(self) -> bool:
        """Whether partitions have been assigned, and all that had to be read back has been.

        Also while resting: then there is nothing to get ready for.
        """
        return self._pool.ready or self._resting.is_set()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """Partitions that are ours now."""
        return frozenset(self._pool.partitions)

    @property
    def running(self) -> int:
        """How many records are at work."""
        return len(self._pool.running)

    @property
    def queued(self) -> int:
        """How many records are fetched and wait for a handler."""
        return self._pool.queued

    @property
    def crowded(self) -> int:
        """How many partitions rest because their done-set has reached the limit of a commit."""
        return sum(partition.crowded for partition in self._pool.partitions.values())

    def limit(self, most: int | None) -> None:
        """Start no more records than leave `most` at work; None: as many as the concurrency says.

        What is at work goes on. Nothing is lost meanwhile, and polling does not stop.
        """
        self._pool.limit(most)

    def rest(self, *, resting: bool) -> None:
        """Leave the group to the others for a while, or come back.

        Whoever rests has nothing at work: what had would run again elsewhere.
        """
        (self._resting if resting else self._awake).set()
        (self._awake if resting else self._resting).clear()

    def running_records(self) -> Mapping[Origin, Received]:
        """Say which records have a handler at work."""
        return {
            Origin(tp.topic, tp.partition, offset): running.received
            for (tp, offset), running in self._pool.running.items()
            if running.received is not None
        }

    def has_seen(self, origin: Origin, message_id: str) -> bool:
        """Say whether a record with this id lies in the partition of `origin`.

        As far as ids are remembered there: those of records before and after it in the window, once
        they have been fetched or read back.
        """
        partition = self._pool.partitions.get(TopicPartition(origin.topic, origin.partition))
        return partition is not None and message_id.encode() in partition.ids

    def inheritance(self, origin: Origin) -> Inheritance | None:
        """Say whether somebody else may have been at work on a record before it came to us."""
        partition = self._pool.partitions.get(TopicPartition(origin.topic, origin.partition))
        inherited = partition.inheritance if partition is not None else None
        return inherited if inherited is not None and origin.offset < inherited.end else None

    def cancel(self, origin: Origin) -> bool:
        """Ask the handler of a record to cancel; it publishes its result and returns.

        False when the record is not at work here (any more).
        """
        tp = TopicPartition(origin.topic, origin.partition)
        running = self._pool.running.get((tp, origin.offset))
        if running is None or running.finished or running.cancellation is not None:
            return False
        self.counters.cancelled += 1
        running.cancel(Cancellation.REQUESTED)
        return True

    def cancel_where(self, predicate: Callable[[Received], bool]) -> int:
        """Ask all handlers whose record fits to cancel; say how many."""
        return sum(
            self.cancel(origin)
            for origin, received in self.running_records().items()
            if predicate(received)
        )

    # -- life -------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Consume until `stop` is set; then finish within `grace_s`, hand back the rest, leave."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stopping.done():
                if self._resting.is_set():
                    await _first(stopping, self._awake)
                else:
                    await self._live(stopping, grace_s)
        finally:
            stopping.cancel()
            self._pool.close()
            self._pool.cancel_all(Cancellation.SHUTDOWN)
            await self._pool.drained(self._settings.cancel_grace_s)
            await self._see_off()

    async def _live(self, stopping: asyncio.Task[bool], grace_s: float) -> None:
        membership = self._membership = self._join()
        life = asyncio.create_task(membership.live())
        rests = False
        try:
            await _first(life, stopping, self._resting)
            rests = not life.done() and not stopping.done()
            if stopping.done():
                await self._wind_down(grace_s)
        finally:
            joined = membership.joined
            failure = await _end_of(life)
            await self._leave(membership, for_good=rests or stopping.done())
        if rests:
            self._pool.hold()
            self._pool.own(())
            self._pool.ready = False
            if self._pool.custody is not None:
                self._pool.custody.assigned(())
        elif not stopping.done():
            if isinstance(failure, ConfigError):
                raise failure
            if not self.ready:
                refuse_if_misconfigured(failure, topic=self.topic, group_id=self.group_id)
            self._failures = 1 if joined else self._failures + 1
            await self._recover(failure, stopping)

    def _join(self) -> Membership:
        return Membership(
            self._connection,
            self._pool,
            topic=self.topic,
            group_id=self.group_id,
            settings=self._settings,
            counters=self.counters,
            clock=self._clock,
        )

    async def _wind_down(self, grace_s: float) -> None:
        self._pool.close()
        log.info("stopping", topic=self.topic, group=self.group_id, running=self.running)
        if await self._pool.drained(grace_s):
            return
        left = self._pool.cancel_all(Cancellation.SHUTDOWN)
        log.warning(
            "the grace period is over, records at work are handed back",
            topic=self.topic,
            group=self.group_id,
            handed_back=left,
        )
        if not await self._pool.drained(self._settings.cancel_grace_s):
            log.error("handlers do not end although cancelled", running=self.running)

    async def _recover(self, failure: BaseException | None, stopping: asyncio.Task[bool]) -> None:
        self._pool.hold()
        for partition in self._pool.partitions.values():
            partition.suspend()
        self.counters.rebuilt += 1
        log.warning(
            "the consumer failed and is built anew",
            topic=self.topic,
            group=self.group_id,
            error=repr(failure),
        )
        pause_s = self._settings.rebuild_pause_s * 2.0 ** min(self._failures - 1, 16)
        await asyncio.wait((stopping,), timeout=min(pause_s, self._settings.rebuild_pause_most_s))

    async def _leave(self, membership: Membership, *, for_good: bool) -> None:
        """Let a member leave; a broker that does not answer is not waited for."""
        leaving = asyncio.create_task(membership.leave(for_good=for_good))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._has_left)
        await asyncio.wait((leaving,), timeout=self._settings.leave_timeout_s)

    def _has_left(self, leaving: asyncio.Task[None]) -> None:
        self._leaving.discard(leaving)
        if not leaving.cancelled() and (error := leaving.exception()) is not None:
            log.warning("leaving the group failed", topic=self.topic, error=repr(error))

    async def _see_off(self) -> None:
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)


async def _first(*awaited: asyncio.Task[Any] | asyncio.Event) -> None:
    """Wait until the first of some tasks has ended, or of some events is set."""
    waits = [a if isinstance(a, asyncio.Task) else asyncio.create_task(a.wait()) for a in awaited]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait, given in zip(waits, awaited, strict=True):
            if wait is not given:
                wait.cancel()


async def _end_of(life: asyncio.Task[None]) -> BaseException | None:
    life.cancel()
    (outcome,) = await asyncio.gather(life, return_exceptions=True)
    return outcome
