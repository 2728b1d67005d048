"""One consumer's life in its group: fetch, rebalance, commit, and notice a stall.

How fetching is held back, as the client's source (aiokafka 0.14) has it: `pause` throws away what
was prefetched and fetches it again after `resume`, and a pause is forgotten at each rebalance. A
`getmany` for chosen partitions leaves the others' prefetched records where they are (at most one
fetch each, so memory is bounded), costs other partitions of that broker one wait of 100 ms, and
keeps the poll clock going. So nothing is ever paused here: a partition that has enough is not
asked for.

How rebalances go (they are eager: everything is revoked, then assigned anew):

- Revoked: nothing new starts; what is done is committed; queues are handed back. What runs goes
  on.
- Assigned: what runs for partitions really lost is cancelled, unless it is claimed (`custody`).
  Every partition, kept or new, reads the group's commit again (while we were away another may have
  owned it), unites it with what it knows, and fetches from there: done records are skipped, running
  ones are not started a second time.
- A commit belongs to the assignment it was made for. The client sends commits with whatever
  generation is current, and would retry one over a rebalance; so one under way is stopped first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from .connection import Connection
from .execution import Counters
from .offsets import rewound_at_ms, told_at_ms
from .partition import Commit, Inheritance, Limits, Partition, Record
from .pool import Pool
from .readback import Ends, committed, ends_of, read_back, starting_point
from .recent_ids import Window
from .seat import Seat
from .starting import start_client
from .static_member import keep_seat
from .strange_log import tell_of_a_strange_log
from .watchdog import Stalled, Watchdog

log = structlog.get_logger(__name__)

_POLL_MS = 200  # nothing is waited for but records
_SHORT_POLL_MS = 20  # some partition was not asked for, and may have room any moment
_BATCH = 2_000
_OPENINGS = 4  # partitions that read back at the same time
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """What can be set about a parallel consumer; the defaults suit steps of agents."""

    commit_interval_s: float = 0.25
    commit_timeout_s: float = 10.0
    revoke_timeout_s: float = 3.0
    stall_s: float = 60.0
    rebuild_pause_s: float = 1.0
    rebuild_pause_most_s: float = 10.0
    leave_timeout_s: float = 5.0
    cancel_grace_s: float = 5.0
    seat: Seat = field(default_factory=Seat)
    rebalance_timeout_ms: int = 30_000
    max_poll_interval_ms: int = 300_000
    queue_bytes: int = 64 * 1024 * 1024
    window: Window = field(default_factory=Window)
    limits: Limits = field(default_factory=Limits)


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """A member of the group, from its joining to its leaving."""

    def __init__(
        self,
        connection: Connection,
        pool: Pool,
        *,
        topic: str,
        group_id: str,
        settings: ConsumerSettings,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.last_loop_monotonic = clock()
        self._connection = connection
        self._pool = pool
        self._topic = topic
        self._group_id = group_id
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._watchdog = Watchdog(settings.stall_s)
        self._consumer = self._build()
        self._nothing = TopicPartition(topic, -1)  # polls without taking anything
        self._joining_since: float | None = clock()
        self._epoch = 0
        self._generation = -1
        self._left = False
        self._opening: asyncio.Task[None] | None = None
        self._committing: asyncio.Task[None] | None = None

    def _build(self) -> AIOKafkaConsumer:
        consumer = self._connection.member(
            self._group_id,
            self._settings.seat,
            rebalance_timeout_ms=self._settings.rebalance_timeout_ms,
            max_poll_interval_ms=self._settings.max_poll_interval_ms,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        consumer.subscribe([self._topic], listener=self)
        return consumer

    async def live(self) -> None:
        """Join and work until cancelled; raise what the consumer cannot recover from."""
        async with asyncio.timeout(self._longest_join_s):
            await start_client(self._consumer)
        loops = [self._poll(), self._tick(), self._watch()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _end(*tasks, self._opening, self._committing)

    async def leave(self, *, for_good: bool) -> None:
        """Commit what is done, leave the group, close the connections."""
        await _end(self._opening, self._committing)
        await self._claim()
        self._left = True  # a successor may be at work already: rebalances are its business now
        await self._commit(self._settings.revoke_timeout_s)
        if not for_good:
            keep_seat(self._consumer)
        await self._consumer.stop()

    # -- fetching ---------------------------------------------------------------------------------

    async def _poll(self) -> None:
        pool = self._pool
        while True:
            self.last_loop_monotonic = self._clock()
            pool.room.clear()
            wanted = self._wanted()
            if not wanted:
                await self._consumer.getmany(self._nothing, timeout_ms=0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_MS / 1_000):
                        await pool.room.wait()
                continue
            if len(wanted) == len(pool.partitions):
                batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            else:
                batches = await self._consumer.getmany(
                    *wanted, timeout_ms=_SHORT_POLL_MS, max_records=_BATCH
                )
            for tp, records in batches.items():
                self._take_in(tp, records)
            pool.fill()

    def _wanted(self) -> list[TopicPartition]:
        pool = self._pool
        if not pool.accepting or pool.queued_bytes > self._settings.queue_bytes:
            return []
        return [tp for tp, partition in pool.partitions.items() if partition.wanted]

    def _take_in(self, tp: TopicPartition, records: list[Record]) -> None:
        partition = self._pool.partitions.get(tp)
        if partition is None or not partition.open or not self._pool.accepting:
            return  # fetched for an assignment that is over: opening seeks, so they come again
        self._watchdog.arrived(tp)
        intake = partition.take_in(records)
        self._counters.repeats += intake.repeats
        tell_of_a_strange_log(tp, intake, records[0].offset)
        self._pool.offer(partition)

    # -- rebalances -------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit what is done and hand back what is queued; what runs goes on."""
        if self._left:
            return
        self._joining_since = self._clock()
        self._pool.hold()
        await _end(self._opening, self._committing)
        await self._claim()
        await self._commit(self._settings.revoke_timeout_s)
        self._epoch += 1
        for partition in self._pool.partitions.values():
            partition.suspend()
        if revoked:
            self._counters.rebalances += 1

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Cancel what is lost and open what is ours, without holding up the group."""
        if self._left:
            return
        self._joining_since = None
        self._epoch += 1
        before, self._generation = self._generation, self._current_generation()
        if self._generation > before + 1:  # there was a generation without us
            self._pool.doubt()
        self._pool.own(assigned)
        if self._pool.custody is not None:
            self._pool.custody.assigned([tp.partition for tp in assigned])
        self._watchdog.reset()
        log.info(
            "partitions assigned",
            topic=self._topic,
            group=self._group_id,
            partitions=sorted(tp.partition for tp in assigned),
        )
        await _end(self._opening)
        self._opening = asyncio.create_task(self._open_all(list(assigned)))

    async def _claim(self) -> None:
        if self._pool.custody is not None:
            await self._pool.custody.revoking()

    async def _open_all(self, tps: list[TopicPartition]) -> None:
        custody = self._pool.custody
        if custody is not None:
            await self._insist(lambda: custody.restore([tp.partition for tp in tps]))
        commits = await self._insist(lambda: committed(self._connection, self._group_id, tps))
        turn = asyncio.Semaphore(_OPENINGS)

        async def open_one(tp: TopicPartition) -> None:
            await self._insist(lambda: self._open(tp, commits.get(tp)), turn)

        async with asyncio.TaskGroup() as group:
            for tp in tps:
                group.create_task(open_one(tp))
        self._pool.ready = True

    async def _open(self, tp: TopicPartition, commit: OffsetAndMetadata | None) -> None:
        consumer, partition = self._consumer, self._pool.partitions[tp]
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        done = starting_point(tp, commit, Ends(begin, end))
        partition.heed(rewound_at_ms(commit.metadata) if commit else 0)
        ids = partition.ids
        if ids.end < done.low:
            ids = await read_back(
                self._connection, tp, begin=begin, low=done.low, window=self._settings.window
            )
        partition.reopen(done, ids)
        told_ms = told_at_ms(commit.metadata) if commit else 0
        partition.inherit(Inheritance(end, told_ms, self._pool.serial, partition.rewound_ms))
        if self._pool.custody is not None:
            self._pool.custody.opened(tp.partition, partition.offsets.done, end)
        consumer.seek(tp, partition.offsets.low)
        self._pool.room.set()

    async def _insist(
        self, attempt: Callable[[], Coroutine[Any, Any, Any]], turn: asyncio.Semaphore | None = None
    ) -> Any:
        failures = 0
        while True:
            try:
                async with turn or asyncio.Semaphore(), asyncio.timeout(self._settings.stall_s):
                    return await attempt()
            except Exception as error:
                log.warning(
                    "opening assigned partitions failed, trying again",
                    topic=self._topic,
                    group=self._group_id,
                    error=repr(error),
                )
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
            failures += 1

    # -- commits ----------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._settings.commit_interval_s)
            self.last_loop_monotonic = self._clock()
            if self._joining_since is None and (
                self._committing is None or self._committing.done()
            ):
                self._committing = asyncio.create_task(
                    self._commit(self._settings.commit_timeout_s)
                )

    async def _commit(self, timeout_s: float) -> None:
        due = self._due()
        if not due:
            return
        if self._current_generation() != self._generation:
            return  # thrown out of the group: this assignment is over, whoever owns it now commits
        try:
            async with asyncio.timeout(timeout_s):
                await self._consumer.commit(
                    {p.tp: OffsetAndMetadata(c.offset, c.metadata) for p, c in due}
                )
        except (KafkaError, TimeoutError) as error:
            self._counters.commit_failures += 1
            self._report(error)
            return
        self._counters.commits += 1
        for partition, commit in due:
            partition.committed(commit)

    def _due(self) -> list[tuple[Partition, Commit]]:
        due = []
        for partition in self._pool.partitions.values():
            commit = partition.to_commit()
            if commit is not None:
                due.append((partition, commit))
            self._pool.offer(partition)  # its done-set may have shrunk to where it may go on
        self._pool.fill()
        return due

    def _report(self, error: Exception) -> None:
        where = {"topic": self._topic, "group": self._group_id, "error": repr(error)}
        if isinstance(error, CommitFailedError):
            log.info("a commit came too late for its assignment", **where)
        else:
            log.warning("a commit failed, the next one will carry it", **where)

    def _current_generation(self) -> int:
        coordinator = self._consumer._coordinator  # noqa: SLF001 - said nowhere else
        return coordinator.generation if coordinator is not None else -1

    # -- stalls -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stall_s / 4)
            now = self._clock()
            if self._joining_since is not None:
                if now - self._joining_since > self._longest_join_s:
                    raise Stalled(f"joining the group takes over {self._longest_join_s:.0f} s")
                continue
            wanted = self._wanted()
            for tp in wanted:
                if not (partition := self._pool.partitions[tp]).queue:
                    partition.offsets.skip_to(await self._position(tp))
            suspects = self._watchdog.suspects(wanted, now)
            if suspects:
                await self._verify(suspects, self._epoch)

    async def _verify(self, suspects: list[TopicPartition], epoch: int) -> None:
        try:
            async with asyncio.timeout(self._settings.stall_s):
                ends = await ends_of(self._connection, suspects)
        except Exception as error:
            log.warning("nothing arrives, and no broker answers", error=repr(error))
            return
        for tp in suspects:
            if epoch != self._epoch:
                return
            position = await self._position(tp)
            if self._watchdog.silent(tp) and position < ends[tp].end:
                raise Stalled(
                    f"nothing arrived from {tp.topic}/{tp.partition} for"
                    f" {self._settings.stall_s:.0f} s, at {position} of {ends[tp].end}"
                )
            self._watchdog.arrived(tp)

    async def _position(self, tp: TopicPartition) -> int:
        partition = self._pool.partitions[tp]
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(1.0):
                return int(await self._consumer.position(tp))
        return partition.offsets.position

    @property
    def joined(self) -> bool:
        """Whether the group has given us our partitions (there may be none)."""
        return self._joining_since is None

    @property
    def _longest_join_s(self) -> float:
        return self._settings.stall_s + self._settings.rebalance_timeout_ms / 1_000


async def _end(*tasks: asyncio.Task[Any] | None) -> None:
    alive = [task for task in tasks if task is not None and not task.done()]
    for task in alive:
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)
