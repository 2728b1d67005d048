"""The coordinator's loop: poll, fold, publish what is owed, commit how far to go back.

One consumer group over `events`; each partition is a world of its own (`partition.py`). At an
assignment a partition is read from its `restore_from`; at a revocation it is forgotten: whoever
gets it next knows all of it from the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence

import structlog
from aiokafka import (
    AIOKafkaConsumer,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.errors import KafkaError

from starlings.kafka.dead_letters import bury
from starlings.kafka.misconfigured import refuse_if_misconfigured
from starlings.kafka.readback import ends_of
from starlings.kafka.starting import start_client
from starlings.kafka.static_member import keep_seat
from starlings.kafka.watchdog import Stalled, Watchdog
from starlings.messages import ConfigError, ErrorInfo
from starlings.service import KafkaPorts, Metric, ServiceContext, kafka_ports

from .commits import starting_point
from .directory import TopicDirectory
from .listener import Listener
from .outbox import Outbox
from .partition import Partition
from .settings import CoordinatorSettings
from .surroundings import Counters, Surroundings

log = structlog.get_logger()

STOP_GRACE_SHARE = 0.5
POLL_MS = 100  # also the precision of timers when nothing else happens
BUSY_POLL_MS = 20  # some partition was not asked for, and may be ready for more any moment
MAX_RECORDS = 2_000
SLOW_EVERY_S = 1.0
SLOW_READ_S = 0.25
START_WITHIN_S = 10.0
REBUILD_PAUSE_S = 1.0
COMMIT_WITHIN_S = 10.0
REVOKE_WITHIN_S = 3.0
LEAVE_WITHIN_S = 5.0
POSITION_WITHIN_S = 1.0
WATCH_WITHIN_S = 5.0

Records = Mapping[TopicPartition, Sequence[ConsumerRecord]]


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
    pull(Metric.CONSUMERS_REBUILT, lambda: coordinator.rebuilt)
    pull(Metric.OPEN_RUNS, lambda: _open_runs(coordinator))
    pull(Metric.OWED, lambda: coordinator.outbox.unacknowledged)


def _open_runs(coordinator: Coordinator) -> int:
    return sum(len(partition.ledger.runs) for partition in list(coordinator.partitions.values()))


class Coordinator:
    """All partitions that this process has been assigned."""

    def __init__(self, ports: KafkaPorts, *, settings: CoordinatorSettings) -> None:
        self._connection = ports.connection
        self._publisher = ports.publisher
        self._topics = ports.topics
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._joined = False
        self._kept: dict[TopicPartition, Partition] = {}
        self._commits: dict[TopicPartition, tuple[int, str]] = {}
        self._committing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Future[None]] = set()
        self._broken: Exception | None = None
        self._watchdog = Watchdog(settings.stall_s)
        self.outbox = Outbox(ports.publisher, ports.topics, TopicDirectory(ports.connection))
        self.counters = Counters()
        self.partitions: dict[TopicPartition, Partition] = {}
        self.rebuilt = 0
        self.last_loop_monotonic: float | None = None
        self._around = Surroundings(
            codec=ports.codec,
            outbox=self.outbox,
            bury=self._bury,
            record_at=ports.connection.record_at,
            policy=settings.policy(),
            counters=self.counters,
            blob_patience_s=settings.blob_patience_s,
            state_report_s=settings.state_report_s,
            tracer=ports.tracer,
        )

    def not_ready(self) -> str | None:
        """Say why this coordinator is not at work yet; None where it is, or is a spare one."""
        if not self._joined:
            return "not in its group yet"
        restoring = [p.place.partition for p in self.partitions.values() if p.recovering]
        return f"restoring partitions {restoring}" if restoring else None

    # -- the loop ------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Coordinate until told to stop; a consumer that fails or stalls is built anew."""
        while not stop.is_set():
            failure = await self._live(stop)
            if failure is not None:
                self.rebuilt += 1
                reason = str(failure) or repr(failure)
                log.warning("consumer failed, building it anew", error=reason)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), REBUILD_PAUSE_S)
        await self.outbox.close(self._settings.grace_s * STOP_GRACE_SHARE)

    async def _live(self, stop: asyncio.Event) -> Exception | None:
        """Be a member of the group until told to stop, or until the consumer fails."""
        self.last_loop_monotonic = time.monotonic()
        group_id = self._topics.coordinator_group
        consumer = self._connection.member(group_id, self._settings.seat)
        try:
            await asyncio.wait_for(start_client(consumer), START_WITHIN_S)
            self._consumer = consumer
            consumer.subscribe([self._topics.events], listener=Listener(self, consumer))
            await self._loop(consumer, stop)
        except ConfigError:
            raise
        except (KafkaError, OSError, TimeoutError) as error:
            if not self._joined:
                refuse_if_misconfigured(error, topic=self._topics.events, group_id=group_id)
            return error
        finally:
            if not stop.is_set():
                keep_seat(consumer)
            await self._leave(consumer)
        return None

    async def _loop(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        next_commit = next_slow = time.monotonic()
        while not stop.is_set():
            self.last_loop_monotonic = now = time.monotonic()
            await self._read(await self._poll(consumer))
            if self._broken is not None:
                raise KafkaError(f"taking over partitions failed: {self._broken!r}")
            await self._finish_recoveries(consumer)
            for partition in list(self.partitions.values()):
                partition.tend(wall_clock_ms())
                if now >= next_slow:
                    partition.tend_slowly()
            if now >= next_slow:
                next_slow = now + SLOW_EVERY_S
                await self._watch(consumer)
            if now >= next_commit:
                next_commit = now + self._settings.commit_every_s
                self._commit_soon(consumer)

    async def _poll(self, consumer: AIOKafkaConsumer) -> Records:
        """Fetch for the partitions that can take more, and never stop polling."""
        has_room = await self.outbox.room(POLL_MS / 1000)
        wanted = [place for place, p in self.partitions.items() if not p.busy] if has_room else []
        batch: Records
        if has_room and len(wanted) == len(self.partitions):
            batch = await consumer.getmany(timeout_ms=self._poll_ms(), max_records=MAX_RECORDS)
        elif wanted:
            wait_ms = min(BUSY_POLL_MS, self._poll_ms())
            batch = await consumer.getmany(*wanted, timeout_ms=wait_ms, max_records=MAX_RECORDS)
        else:
            nothing = TopicPartition(self._topics.events, -1)
            batch = await consumer.getmany(nothing, timeout_ms=0)
        return batch

    def _poll_ms(self) -> int:
        """Poll no longer than until the next timer falls due."""
        dues = [p.timers.next_due_ms() for p in self.partitions.values() if not p.recovering]
        next_due = min((due for due in dues if due is not None), default=None)
        if next_due is None:
            return POLL_MS
        return max(0, min(POLL_MS, next_due - wall_clock_ms()))

    async def _read(self, batch: Records) -> None:
        """Let partitions read; one that waits for a value from afar holds up only itself."""
        for place, records in batch.items():
            # What was fetched before an assignment was taken up is read again anyhow.
            partition = self.partitions.get(place)
            if partition is not None and records:
                self._watchdog.arrived(place)
                partition.start_reading(records)
        reading = [p.reading for p in self.partitions.values() if p.reading is not None]
        if reading:
            await asyncio.wait(reading, timeout=SLOW_READ_S)
            for partition in self.partitions.values():
                partition.has_read()

    async def _finish_recoveries(self, consumer: AIOKafkaConsumer) -> None:
        for place, partition in list(self.partitions.items()):
            if not partition.recovering or partition.busy:
                continue
            position = await _position(consumer, place)
            if position is None or position < partition.end:
                continue
            if self.partitions.get(place) is not partition:
                continue
            if partition.must_read_again():
                consumer.seek(place, partition.start)
            else:
                partition.finish_recovery()

    # -- assignments ---------------------------------------------------------------------------

    def works_with(self, consumer: AIOKafkaConsumer) -> bool:
        """Say whether a consumer is the one at work."""
        return consumer is self._consumer

    async def give_up(self, consumer: AIOKafkaConsumer, revoked: list[TopicPartition]) -> None:
        """Say how far the next owner must go back; keep what may come back at once."""
        await self._commit(consumer, revoked, within_s=REVOKE_WITHIN_S)
        for place in revoked:
            partition = self.partitions.pop(place, None)
            self._commits.pop(place, None)
            if partition is not None and not partition.recovering and not partition.busy:
                self._kept[place] = partition
            elif partition is not None:
                partition.close()

    async def take_up(self, consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> None:
        """Begin to read each partition where its last owner said."""
        try:
            await self._take_over(consumer, assigned)
        except Exception as error:  # the client would only log it, and go on without us
            self._broken = error
        self._joined = True

    async def _take_over(self, consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> None:
        """Go on with partitions that have come back, and open the others.

        Every rebalance revokes everything. The log is the truth, so that whoever goes on where it
        stopped reading knows as much as who begins anew, whatever others did in between.
        """
        kept, self._kept = self._kept, {}
        begins = await consumer.beginning_offsets(places) if places else {}
        ends = await consumer.end_offsets(places) if places else {}
        for place, partition in kept.items():
            if place in begins and begins[place] <= partition.position <= ends[place]:
                consumer.seek(place, partition.position)
                self.partitions[place] = partition
            else:
                partition.close()
        new = [place for place in places if place not in self.partitions]
        committed = await self._committed(new)
        for place in new:
            start = starting_point(place, committed.get(place), begins[place], ends[place])
            consumer.seek(place, start.restore_from)
            self.partitions[place] = Partition(place, self._around, start=start, end=ends[place])
        self._watchdog.reset()
        log.info("partitions assigned", kept=_numbers(kept), new=_numbers(new))

    async def _committed(
        self, places: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        if not places:
            return {}
        return await self._connection.committed(self._topics.coordinator_group, places)

    async def _leave(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer, self._broken, self._joined = None, None, False
        await self._commit(consumer, list(self.partitions), within_s=REVOKE_WITHIN_S)
        for partition in [*self.partitions.values(), *self._kept.values()]:
            partition.close()
        self.partitions.clear()
        self._kept.clear()
        self._commits.clear()
        stopping = asyncio.ensure_future(consumer.stop())
        self._leaving.add(stopping)
        stopping.add_done_callback(self._has_left)
        # Without a broker that may take for ever, and cannot even be cancelled.
        await asyncio.wait({stopping}, timeout=LEAVE_WITHIN_S)

    def _has_left(self, stopping: asyncio.Future[None]) -> None:
        self._leaving.discard(stopping)
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            log.warning("leaving the group failed", error=repr(error))

    # -- committing and watching ---------------------------------------------------------------

    def _commit_soon(self, consumer: AIOKafkaConsumer) -> None:
        """Commit beside the loop: the group's broker may be away while all others are there."""
        if self._committing is None or self._committing.done():
            commit = self._commit_changes(consumer, list(self.partitions), COMMIT_WITHIN_S)
            self._committing = asyncio.create_task(commit)

    async def _commit(
        self, consumer: AIOKafkaConsumer, places: list[TopicPartition], *, within_s: float
    ) -> None:
        """Commit now, in the place of the commit that may be under way."""
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
            self._committing = None
        await self._commit_changes(consumer, places, within_s)

    async def _commit_changes(
        self, consumer: AIOKafkaConsumer, places: list[TopicPartition], within_s: float
    ) -> None:
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
            async with asyncio.timeout(within_s):
                await consumer.commit(
                    {p: OffsetAndMetadata(*point) for p, point in changed.items()}
                )
            self._commits.update(changed)
        except Exception as error:  # whatever it was, nobody waits for this task
            log.warning("commit failed, the next one will tell", error=str(error) or repr(error))

    async def _watch(self, consumer: AIOKafkaConsumer) -> None:
        """Raise where records wait but none arrive: some stalls of the client never end."""
        asked = [place for place, p in self.partitions.items() if not p.busy]
        suspects = self._watchdog.suspects(asked, time.monotonic())
        if not suspects:
            return
        try:
            async with asyncio.timeout(WATCH_WITHIN_S):
                ends = await ends_of(self._connection, suspects)
        except (KafkaError, OSError, TimeoutError):
            ends = {}  # nobody answers: that is no stall of ours
        for place in suspects:
            position = await _position(consumer, place)
            if place in ends and position is not None and position < ends[place].end:
                raise Stalled(f"nothing arrives from {place.topic}/{place.partition}")
            self._watchdog.arrived(place)

    # -- what partitions need ------------------------------------------------------------------

    async def _bury(self, record: ConsumerRecord, error: ErrorInfo) -> None:
        await bury(self._publisher, record, error, topics=self._topics)


async def _position(consumer: AIOKafkaConsumer, place: TopicPartition) -> int | None:
    """Say which record comes next; None where that is not for us to know at the moment."""
    try:
        async with asyncio.timeout(POSITION_WITHIN_S):
            position: int = await consumer.position(place)
    except (KafkaError, TimeoutError):  # a rebalance has just taken the partition
        return None
    return position


def _numbers(places: Iterable[TopicPartition]) -> list[int]:
    return sorted(place.partition for place in places)
