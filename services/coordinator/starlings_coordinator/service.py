"""The coordinator's loop: poll, fold, publish what is owed, commit how far to go back.

One consumer group over `events`; each partition is a world of its own (`partition.py`). At an
assignment a partition is read from its `restore_from`; at a revocation it is forgotten: whoever
gets it next knows all of it from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.errors import KafkaError

from starlings.kafka.codec import Received
from starlings.kafka.connection import Connection
from starlings.kafka.dead_letters import bury
from starlings.messages import ErrorInfo
from starlings.service import KafkaPorts, Metric, ServiceContext, kafka_ports

from .outbox import Outbox
from .partition import Counters, Partition, Surroundings, read_metadata
from .settings import CoordinatorSettings

log = structlog.get_logger()

STOP_GRACE_SHARE = 0.5
POLL_MS = 100  # also the precision of timers when nothing else happens
MAX_RECORDS = 2_000
SLOW_EVERY_S = 1.0
DIRECTORY_AGE_S = 1.0


def wall_clock_ms() -> int:
    """Tell the time that brokers stamp records with, as this machine knows it."""
    return int(time.time() * 1000)


async def serve(ctx: ServiceContext[CoordinatorSettings]) -> None:
    """Run the coordinator as a service."""
    topics = ctx.settings.topics
    needed = topics.core_specs(partitions=ctx.settings.partitions)
    async with kafka_ports(ctx, "coordinator", needed) as ports:
        coordinator = Coordinator(ports, settings=ctx.settings)
        ctx.heartbeat.follow("events", lambda: coordinator.last_loop_monotonic)
        ctx.health.ready_when(coordinator.not_ready)
        _show_metrics(ctx, coordinator)
        ctx.log.info("coordinating", topic=topics.events, group=topics.coordinator_group)
        await coordinator.run(ctx.stop)


def _show_metrics(ctx: ServiceContext[CoordinatorSettings], coordinator: Coordinator) -> None:
    count, pull = coordinator.counters, ctx.metrics.pull
    pull(Metric.MESSAGES_HANDLED, lambda: count.facts)
    pull(Metric.DEAD_LETTERS, lambda: count.undecodable + count.parked)
    pull(Metric.OPEN_RUNS, lambda: _open_runs(coordinator))
    pull(Metric.OWED, lambda: coordinator.outbox.unacknowledged)


def _open_runs(coordinator: Coordinator) -> int:
    return sum(len(partition.ledger.runs) for partition in list(coordinator.partitions.values()))


class TopicDirectory:
    """Which topics exist; asked again at most every second, and only where one is missing."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: set[str] = set()
        self._asked = float("-inf")

    async def has(self, topic: str) -> bool:
        """Say whether a topic exists; where that cannot be found out now, assume it does."""
        if topic in self._known:
            return True
        if time.monotonic() - self._asked > DIRECTORY_AGE_S:
            self._asked = time.monotonic()
            try:
                self._known = await self._connection.topic_names()
            except (KafkaError, OSError, TimeoutError):
                return True
        return topic in self._known


class Coordinator(ConsumerRebalanceListener):  # type: ignore[misc]
    """All partitions that this process has been assigned."""

    def __init__(self, ports: KafkaPorts, *, settings: CoordinatorSettings) -> None:
        self._connection = ports.connection
        self._codec = ports.codec
        self._publisher = ports.publisher
        self._topics = ports.topics
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._commits: dict[TopicPartition, tuple[int, str]] = {}
        self._progress = time.monotonic()
        self._broken: Exception | None = None
        self._directory = TopicDirectory(ports.connection)
        self.outbox = Outbox(ports.publisher, ports.topics, topic_exists=self._directory.has)
        self.counters = Counters()
        self.partitions: dict[TopicPartition, Partition] = {}
        self.rebuilt = 0
        self.last_loop_monotonic: float | None = None
        self._around = Surroundings(
            codec=ports.codec,
            outbox=self.outbox,
            topics=ports.topics,
            bury=self._bury,
            read_at=self._read_at,
            policy=settings.policy(),
            counters=self.counters,
        )

    def not_ready(self) -> str | None:
        """Say why this coordinator is not at work yet; None where it is."""
        if not self.partitions:
            return "no partition assigned"
        restoring = [p.place.partition for p in self.partitions.values() if p.recovering]
        return f"restoring partitions {restoring}" if restoring else None

    # -- the loop ------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Coordinate until told to stop; a consumer that makes no progress is built anew."""
        while not stop.is_set():
            self._consumer = self._connection.consumer(group_id=self._topics.coordinator_group)
            await self._consumer.start()
            self._consumer.subscribe([self._topics.events], listener=self)
            try:
                await self._loop(self._consumer, stop)
            except KafkaError as error:
                self.rebuilt += 1
                log.warning("consumer failed, building it anew", error=str(error) or repr(error))
                await asyncio.sleep(1)
            finally:
                await self._leave(self._consumer)
        await self.outbox.close(self._settings.grace_s * STOP_GRACE_SHARE)

    async def _loop(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        next_commit = next_slow = time.monotonic()
        self._progress = time.monotonic()
        while not stop.is_set():
            self.last_loop_monotonic = time.monotonic()
            batch = await consumer.getmany(timeout_ms=self._poll_ms(), max_records=MAX_RECORDS)
            if self._broken is not None:
                raise KafkaError(f"taking over partitions failed: {self._broken!r}")
            await self._read(batch)
            await self._finish_recoveries(consumer)
            await self.outbox.room()
            now = time.monotonic()
            for partition in list(self.partitions.values()):
                await partition.tend(wall_clock_ms())
                if now >= next_slow:
                    await partition.tend_slowly()
            if now >= next_slow:
                next_slow = now + SLOW_EVERY_S
                await self._watch(consumer)
            if now >= next_commit:
                next_commit = now + self._settings.commit_every_s
                await self._commit(consumer, list(self.partitions))

    def _poll_ms(self) -> int:
        """Poll no longer than until the next timer falls due."""
        dues = [p.timers.next_due_ms() for p in self.partitions.values() if not p.recovering]
        next_due = min((due for due in dues if due is not None), default=None)
        if next_due is None:
            return POLL_MS
        return max(0, min(POLL_MS, next_due - wall_clock_ms()))

    async def _read(self, batch: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        # Looked up before the first await: a rebalance in between brings partitions that begin
        # elsewhere, and records fetched before an assignment was taken up are read again anyhow.
        readers = [(self.partitions.get(place), records) for place, records in batch.items()]
        for partition, records in readers:
            if partition is not None and records:
                self._progress = time.monotonic()
                await partition.read(records)

    async def _finish_recoveries(self, consumer: AIOKafkaConsumer) -> None:
        for place, partition in list(self.partitions.items()):
            if not partition.recovering or await consumer.position(place) < partition.end:
                continue
            if partition.must_read_again():
                consumer.seek(place, partition.start)
            else:
                await partition.finish_recovery()

    # -- assignments ---------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Say how far the next owner must go back, and forget the partitions."""
        if self._consumer is not None:
            await self._commit(self._consumer, revoked)
        for place in revoked:
            self.partitions.pop(place, None)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Begin to read each partition where its last owner said."""
        if self._consumer is None or not assigned:
            return
        try:
            await self._take_over(self._consumer, list(assigned))
        except Exception as error:  # the client would only log it, and go on without us
            self._broken = error

    async def _take_over(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        committed = await self._connection.committed(self._topics.coordinator_group, places)
        begins = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        for place in places:
            start = self._start(place, committed.get(place), begins[place])
            consumer.seek(place, start)
            self.partitions[place] = Partition(place, self._around, start=start, end=ends[place])
        self._progress = time.monotonic()
        log.info("partitions assigned", partitions=sorted(place.partition for place in places))

    def _start(self, place: TopicPartition, committed: OffsetAndMetadata | None, begin: int) -> int:
        if committed is None:
            return begin
        restore_from = read_metadata(committed.metadata)
        if restore_from is None:
            log.warning("no restore_from in the commit, reading all", partition=place.partition)
            return begin
        if restore_from < begin:
            log.error(
                "retention has deleted facts that open runs need; raise retention.ms of the topic",
                topic=place.topic,
                partition=place.partition,
                restore_from=restore_from,
                begin=begin,
            )
        return max(restore_from, begin)

    async def _leave(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer, self._broken = None, None
        with contextlib.suppress(KafkaError):
            await self._commit(consumer, list(self.partitions))
        self.partitions.clear()
        self._commits.clear()
        with contextlib.suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(consumer.stop(), timeout=10)

    # -- committing and watching ---------------------------------------------------------------

    async def _commit(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        """Commit what has changed; a commit that fails is made up for by the next one."""
        points = {
            place: partition.commit_point()
            for place in places
            if (partition := self.partitions.get(place)) is not None and not partition.recovering
        }
        changed = {p: point for p, point in points.items() if self._commits.get(p) != point}
        if not changed:
            return
        try:
            await consumer.commit({p: OffsetAndMetadata(*point) for p, point in changed.items()})
            self._commits.update(changed)
        except KafkaError as error:
            log.warning("commit failed, the next one will tell", error=str(error) or repr(error))

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Raise where records wait but none arrive: some stalls of the client never end."""
        if time.monotonic() - self._progress < self._settings.stall_s or not self.partitions:
            return
        self._progress = time.monotonic()
        ends = await consumer.end_offsets(list(self.partitions))
        for place in self.partitions:
            if await consumer.position(place) < ends[place]:
                raise KafkaError(f"no progress on {place.topic}/{place.partition}")

    # -- what partitions need ------------------------------------------------------------------

    async def _bury(self, record: ConsumerRecord, error: ErrorInfo) -> None:
        await bury(self._publisher, record, error, topics=self._topics)

    async def _read_at(self, place: TopicPartition, offset: int) -> Received | None:
        record = await self._connection.record_at(place, offset)
        return await self._codec.decode(record) if record is not None else None
