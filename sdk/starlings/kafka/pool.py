"""The records at work: up to N tasks, taken in turn from the partitions that have some queued.

One task per record, so that each can be cancelled by itself. Ends are noted in the task's done
callback, which runs also for a task that was cancelled before its first step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import structlog
from aiokafka import TopicPartition

from .custody import Custody, Verdict
from .execution import Cancellation, Counters, Running
from .partition import Limits, Partition, Record
from .recent_ids import Window

log = structlog.get_logger(__name__)

Run = Callable[[Running], Coroutine[Any, Any, None]]

STARTS_PER_TURN = 32  # what these publish goes out, and is acknowledged, while the next ones run


class Pool:
    """Partitions that are ours, and what is at work of them."""

    def __init__(
        self, run: Run, *, concurrency: int, window: Window, limits: Limits, counters: Counters
    ) -> None:
        self.partitions: dict[TopicPartition, Partition] = {}
        self.running: dict[tuple[TopicPartition, int], Running] = {}
        self.accepting = True
        self.ready = False  # all of an assignment has been opened, at least once
        self.custody: Custody | None = None
        self.room = asyncio.Event()  # something ended: a full queue may have room again
        self._run = run
        self._concurrency = concurrency
        self._limit = concurrency
        self._window = window
        self._limits = limits
        self._counters = counters
        self.serial = 0  # of the assignment
        self._turns: deque[Partition] = deque()
        self._in_turn: set[TopicPartition] = set()
        self._started = 0  # in this turn of the event loop
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def queued(self) -> int:
        """How many records are fetched and not started."""
        return sum(len(partition.queue) for partition in self.partitions.values())

    @property
    def queued_bytes(self) -> int:
        """How many bytes they hold."""
        return sum(partition.queued_bytes for partition in self.partitions.values())

    def own(self, tps: Iterable[TopicPartition]) -> None:
        """Keep what is still ours, cancel and forget what is lost, begin what is new.

        What is at work under a claim goes on, also where its partition is lost.
        """
        ours = set(tps)
        self.serial += 1
        for lost in self.partitions.keys() - ours:
            del self.partitions[lost]
        for (tp, _), running in list(self.running.items()):
            if tp in ours or running.cancellation is Cancellation.LOST:
                continue
            if self.custody is None or not self.custody.keeps(running):
                running.cancel(Cancellation.LOST)
        for tp in ours - self.partitions.keys():
            partition = Partition(tp, window=self._window, limits=self._limits)
            # Lost and got back before all had stopped: those must end before they start anew.
            partition.running.update(offset for at, offset in self.running if at == tp)
            self.partitions[tp] = partition

    def doubt(self) -> None:
        """Hear that others may have owned what is ours, for a while."""
        for partition in self.partitions.values():
            partition.doubtful = True

    def hold(self) -> None:
        """Start nothing until partitions are offered again."""
        self._turns.clear()
        self._in_turn.clear()

    def close(self) -> None:
        """Start nothing more, ever; hand back all that waits."""
        self.accepting = False
        self.hold()
        for partition in self.partitions.values():
            partition.drop_queue()

    def offer(self, partition: Partition) -> None:
        """Let a partition with queued records have its turn."""
        if partition.queue and partition.tp not in self._in_turn and self.accepting:
            self._in_turn.add(partition.tp)
            self._turns.append(partition)

    def limit(self, most: int | None) -> None:
        """Have no more than `most` at work; None: what the concurrency allows.

        What is at work goes on, also where that is more.
        """
        self._limit = self._concurrency if most is None else min(most, self._concurrency)
        self.fill()

    def fill(self) -> None:
        """Start queued records, partition by partition, as long as there is room.

        A few at a turn of the event loop; the turns after it go on by themselves.
        """
        turns, running = self._turns, self.running
        while turns and len(running) < self._limit and self._started < STARTS_PER_TURN:
            partition = turns[0]
            record = partition.next_record()
            if record is None:
                turns.popleft()
                self._in_turn.discard(partition.tp)
                continue
            turns.rotate(-1)
            if self.custody is None or not self.custody.concerns(partition.tp.partition):
                self._start(partition, record)
            else:
                self._admit(self.custody, partition, record)

    def release(self, tp: TopicPartition, offset: int) -> None:
        """Let a parked record have its turn: whoever held it does so no more."""
        partition = self.partitions.get(tp)
        if partition is not None and (record := partition.unpark(offset)) is not None:
            partition.give_back(record)
            self.offer(partition)
            self.fill()

    def settle(self, tp: TopicPartition, offset: int) -> None:
        """Count a parked record as done: whoever held it has brought it to its end."""
        partition = self.partitions.get(tp)
        if partition is not None and partition.unpark(offset) is not None:
            partition.finish(offset)

    def cancel_all(self, reason: Cancellation) -> int:
        """Cancel everything at work."""
        for running in list(self.running.values()):
            running.cancel(reason)
        return len(self.running)

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is at work; False when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _admit(self, custody: Custody, partition: Partition, record: Record) -> None:
        verdict = custody.verdict(partition.tp.partition, record)
        if verdict is Verdict.HELD:
            partition.park(record)
        elif verdict is Verdict.DONE:
            partition.finish(record.offset)
        else:
            self._start(partition, record, kept=verdict is Verdict.RESUME)

    def _start(self, partition: Partition, record: Record, *, kept: bool = False) -> None:
        loop = asyncio.get_running_loop()
        running = Running(record, partition, since=loop.time(), kept=kept)
        self.running[partition.tp, record.offset] = running
        self._idle.clear()
        if not self._started:
            loop.call_soon(self._next_turn)
        self._started += 1
        running.task = loop.create_task(self._run(running))
        running.task.add_done_callback(partial(self._ended, running))

    def _next_turn(self) -> None:
        self._started = 0
        self.fill()

    def _ended(self, running: Running, task: asyncio.Task[None]) -> None:
        record = running.record
        tp = running.partition.tp
        del self.running[tp, record.offset]
        partition = self.partitions.get(tp)
        if _is_done(running, task):
            if partition is not None:
                partition.finish(record.offset)
        else:
            self._counters.handed_back += 1
            if partition is not None:
                partition.give_back(record)
        if partition is not None and partition.queue:
            self.offer(partition)
        self.fill()
        self.room.set()
        if not self.running:
            self._idle.set()


def _is_done(running: Running, task: asyncio.Task[None]) -> bool:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a record's task failed by our own fault", error=repr(error), exc_info=error)
        return False
    if running.finished or running.cancellation is not Cancellation.REQUESTED:
        return running.finished
    log.warning(
        "a handler that was asked to cancel gave no result, its record counts as done",
        topic=running.record.topic,
        partition=running.record.partition,
        offset=running.record.offset,
    )
    return True
