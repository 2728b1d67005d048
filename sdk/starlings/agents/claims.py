"""Claims: no step that a living instance works on is started by another one.

Who is assigned a partition reads its checkpoints first. Work that somebody else has claimed is left
to them: its record waits, without taking a slot, until the claim ends. A tombstone says that the
work has ended and its result is in the log: its offset counts as done. A released claim, or one
whose renewals are seen no more, lets the work run again under the same id.

When partitions are about to be taken away, all that is at work is claimed, however young it is; and
what is claimed goes on to its end wherever its partition has gone. Who goes on follows the
partition, and stops when somebody else has taken the work over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from aiokafka import TopicPartition

from starlings.kafka.codec import Received
from starlings.kafka.custody import Verdict
from starlings.kafka.execution import Cancellation, Running
from starlings.kafka.offsets import Done
from starlings.kafka.partition import Record, id_of
from starlings.kafka.pool import Pool
from starlings.messages import AttemptCheckpoint, StarlingsError, work_of

from .checkpoints import CheckpointStore
from .kept_calls import KeptCalls
from .leases import Leases
from .once import Calls
from .own_claims import ClaimSettings, OwnClaims

log = structlog.get_logger(__name__)

TICK_S = 0.25
REVOKE_WITHIN_S = 2.0
DROP_WITHIN_S = 10.0


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Claims:
    """The custody of one agent's instance (see `starlings.kafka.custody`)."""

    def __init__(
        self,
        store: CheckpointStore,
        *,
        topic: str,
        instance: str,
        settings: ClaimSettings | None = None,
        clock: Callable[[], float] = _loop_time,
    ) -> None:
        self.store = store
        self.on_opened: list[Callable[[int], None]] = []  # a partition has been restored
        self.on_assigned: list[Callable[[frozenset[int]], None]] = []  # these are ours, no others
        self._topic = topic
        self._instance = instance
        self._settings = settings or ClaimSettings()
        self._clock = clock
        self._own = OwnClaims(store, instance=instance, settings=self._settings, clock=clock)
        self._leases = Leases(gap_s=self._settings.lease_s * 2 / 3)
        self._owned: frozenset[int] = frozenset()
        self._inherited: dict[int, int] = {}  # partition → its end when it was opened
        self._parked: dict[tuple[int, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool: Pool | None = None
        store.on_change.append(self._changed)

    # -- life ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Make and renew claims, and judge those of others, while the block lasts."""
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            if self._tasks:  # what has ended is still being told
                await asyncio.wait(self._tasks, timeout=REVOKE_WITHIN_S)
            for task in self._tasks:
                task.cancel()
            await self._own.close()
            await self.store.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                if due := self._own.due(self._at_work.values()):
                    self._own.say_soon(due)
                self._judge()
                self._follow()
            except Exception as error:
                log.exception("claims are looked after again soon", error=repr(error))

    @property
    def _at_work(self) -> dict[tuple[TopicPartition, int], Running]:
        return self._pool.running if self._pool is not None else {}

    # -- custody -------------------------------------------------------------------------------

    def attach(self, pool: Pool) -> None:
        """Hear which records are at work here."""
        self._pool = pool

    async def restore(self, partitions: Collection[int]) -> None:
        """Read what is kept of these partitions."""
        await self.store.restore(partitions)
        for partition in partitions:
            for work in self.store.of_partition(partition):
                self._note(partition, work)

    def opened(self, partition: int, done: Done, end: int) -> None:
        """Drop what is left of work that has ended; its owner died before it could."""
        self._inherited[partition] = end
        view = self.store.view(partition)
        for work, offset in list(view.works()):
            attempt = view.attempt(work)
            job = attempt is not None and attempt.job is not None
            if offset is None or job or not _is_done(done, offset):
                continue
            if self._own.on(partition, work) is None:
                self._spawn(self.store.drop(partition, work))
        for told in self.on_opened:
            told(partition)

    def assigned(self, partitions: Collection[int]) -> None:
        """Forget what belongs to partitions of others, unless work of theirs goes on here."""
        self._owned = frozenset(partitions)
        going_on = {running.partition.tp.partition for running in self._at_work.values()}
        for key in self._leases:
            if key[0] not in self._owned:
                self._leases.forget(key)
        self._parked.clear()  # partitions hand back what is parked when they are revoked
        for partition in self.store.partitions() - self._owned - going_on:
            self.store.forget(partition)
            self._inherited.pop(partition, None)
        self._follow()
        for told in self.on_assigned:
            told(self._owned)

    def concerns(self, partition: int) -> bool:
        """Say whether anything is known of work in a partition."""
        return not self.store.view(partition).silent

    def verdict(self, partition: int, record: Record) -> Verdict:
        """Say what is to become of a record."""
        work = work_of(id_of(record).decode(errors="replace"))
        verdict = self._verdict(partition, work, record.offset)
        if verdict is Verdict.HELD:
            self._parked[partition, work] = record.offset
        return verdict

    def _verdict(self, partition: int, work: str, offset: int) -> Verdict:
        view = self.store.view(partition)
        attempt = view.attempt(work)
        if view.newer(work) is not None:
            return Verdict.HELD
        if attempt is not None and attempt.job is not None:
            return Verdict.DONE  # it goes on as a job
        if self._is_held(partition, work, attempt):
            return Verdict.HELD
        if view.keys(work):
            return Verdict.RESUME
        inherited = offset < self._inherited.get(partition, 0)
        return Verdict.DONE if inherited and view.ended(work) else Verdict.START

    async def revoking(self) -> None:
        """Claim all that is at work."""
        if unclaimed := self._own.unclaimed(self._at_work.values()):
            saying = self._own.say_soon(unclaimed)
            await asyncio.wait((saying,), timeout=REVOKE_WITHIN_S)

    def keeps(self, running: Running) -> bool:
        """Say whether a record at work is claimed."""
        claim = self._own.of(running)
        return claim is not None and claim.said is not None

    async def begin(self, running: Running) -> None:
        """Claim a record before it is begun again."""
        await self._own.claim(running)

    async def ended(self, running: Running) -> None:
        """Take back what is kept of a record: its result is in the log."""
        place = running.partition.tp.partition
        work = work_of(id_of(running.record).decode(errors="replace"))
        try:
            if not await self._own.end(running):
                return
            attempt = self.store.get(place, work)
            if attempt is None or attempt.job is None:
                async with asyncio.timeout(DROP_WITHIN_S):
                    await self.store.drop(place, work)
        except (StarlingsError, TimeoutError) as error:
            log.warning("the end of a claim is not told", work=work, error=repr(error))
        finally:
            self._leave(place)

    async def handed_back(self, running: Running) -> None:
        """Release the claim on a record that was cancelled; one that was lost is another's."""
        if running.cancellation is Cancellation.REQUESTED:
            await self.ended(running)  # it counts as done
        elif running.cancellation is Cancellation.LOST:
            await self._own.end(running)
        else:
            await self._own.release(running)
        self._leave(running.partition.tp.partition)

    # -- for handlers --------------------------------------------------------------------------

    def work_of(self, received: Received) -> str:
        """Name the work that a record at work asks for, as its claim and its job are named.

        One that was sent back from the dead letters has another name than before.
        """
        running = self._running(received)
        if running is None:
            return work_of(received.envelope.id)
        return work_of(id_of(running.record).decode(errors="replace"))

    def calls(self, received: Received) -> Calls:
        """Give the memory of calls of a record that is at work."""
        work = self.work_of(received)
        origin = received.origin

        def keep() -> None:
            if (running := self._running(received)) is not None:
                running.kept = True

        return KeptCalls(self.store, origin.partition, work, origin.offset, on_keep=keep)

    async def keep_job(self, received: Received, job: dict[str, Any]) -> None:
        """Remember a job from now on: its record may count as done, the job goes on.

        Whoever owns the partition finds it in `store.of_partition`; `store.put` goes on with it,
        `store.drop` ends it.
        """
        running = self._running(received)
        if running is None:
            raise RuntimeError("only a record that is at work can become a job")
        await self._own.keep_job(running, job)

    def _running(self, received: Received) -> Running | None:
        origin = received.origin
        return self._at_work.get((TopicPartition(origin.topic, origin.partition), origin.offset))

    # -- claims of others ----------------------------------------------------------------------

    def _is_held(self, partition: int, work: str, attempt: AttemptCheckpoint | None) -> bool:
        claim = attempt.claim if attempt is not None else None
        if claim is None or claim.instance == self._instance:
            return False  # our own name, and not at work here: who had it before us is dead
        return not self._leases.expired((partition, work))

    def _changed(self, partition: int, work: str) -> None:
        own = self._own.on(partition, work)
        if own is None:
            self._note(partition, work)
            self._reconsider(partition, work)
        elif partition not in self._owned:
            self._own.look(own)

    def _note(self, partition: int, work: str) -> None:
        """Note a sign of life of whoever claims a piece of work, or the end of the claim."""
        attempt = self.store.get(partition, work)
        claim = attempt.claim if attempt is not None and attempt.job is None else None
        if claim is None or claim.instance == self._instance:
            self._leases.forget((partition, work))
        else:
            self._leases.seen((partition, work), self._clock(), lease_s=claim.lease_s)

    def _reconsider(self, partition: int, work: str) -> None:
        offset = self._parked.get((partition, work))
        if offset is None or self._pool is None:
            return
        verdict = self._verdict(partition, work, offset)
        if verdict is Verdict.HELD:
            return
        del self._parked[partition, work]
        place = TopicPartition(self._topic, partition)
        if verdict is Verdict.DONE:
            self._pool.settle(place, offset)
        else:
            self._pool.release(place, offset)

    def _judge(self) -> None:
        for partition, work in self._leases:
            self._drop_if_over(partition, work)
            if self._leases.expired((partition, work)):
                if (partition, work) in self._parked:
                    log.warning("the owner of a claim is dead, its work runs again", work=work)
                self._reconsider(partition, work)
        for partition in self._owned:
            self._settle(partition)

    def _drop_if_over(self, partition: int, work: str) -> None:
        """Stop waiting for a claim that we have taken over, or taken back, ourselves."""
        attempt = self.store.get(partition, work)
        claim = attempt.claim if attempt is not None else None
        if claim is None or claim.instance == self._instance:
            self._leases.forget((partition, work))

    def _settle(self, partition: int) -> None:
        """Forget ends once all that lay there before us is done."""
        place = TopicPartition(self._topic, partition)
        book = self._pool.partitions.get(place) if self._pool is not None else None
        if book is not None and book.open:
            end = self._inherited.get(partition)
            if end is not None and book.offsets.low >= end:
                self.store.view(partition).settle()

    def _follow(self) -> None:
        theirs = {partition for partition, _ in self._leases}
        lost = self._own.partitions() - self._owned
        self.store.follow(theirs | lost, current=lambda: self._leases.current(self._clock()))

    def _leave(self, partition: int) -> None:
        """Forget a lost partition when the last work of it has ended here."""
        going_on = any(
            running.partition.tp.partition == partition and not running.finished
            for running in self._at_work.values()
        )
        if partition not in self._owned and not going_on:
            self.store.forget(partition)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with suppress(StarlingsError):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_done(done: Done, offset: int) -> bool:
    return offset < done.low or any(start <= offset < end for start, end in done.ranges)
