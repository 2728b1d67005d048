"""Looking after jobs and sensors on Kafka: thousands of waiting steps, and no slot held by any.

What a waiting step's life is made of, in this order: it is begun, its handle is kept in
`checkpoints.<agent>` and acknowledged, and its offset is done. From then on the owner of the
partition looks at it. Its end is published on `events` and acknowledged, and only then is its
checkpoint taken back. So at any crash either the step's record, or its handle, or its end is in a
log. Two owners at once (one was taken for dead, and is not) look at the same thing, say the same
under the same ids, and end it twice, which `end` bears.

Looks wait in one heap by their time. Few of them are made at once, and a takeover of thousands is
spread over an interval of each (`Polling.takeover_wait_s`), so that nobody is run over.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from starlings.kafka.until_taken import until_taken
from starlings.messages import (
    AttemptCheckpoint,
    ErrorInfo,
    StarlingsError,
    StepDone,
    StepOutcome,
    UndecodableMessage,
    error_info,
)

from .call_record import handle_record
from .checkpoints import CheckpointStore
from .context import StepContext
from .execute import step_done
from .held import Attempt, Held, Voice, Waiting, cancelled, out_of_time
from .model_port import Spent
from .status import Phase
from .stops import Stops
from .telling import tell_end
from .vigil import Vigil, end_surely
from .waiting import Look, WaitingAgent, outcome_of, progress_of

log = structlog.get_logger(__name__)

ENDS_AT_ONCE = 32
LOOK_AGAIN_S = 30.0  # after an error of our own
SHORTEST_WAIT_S = 0.05  # whatever signs of life somebody asks for
SAID_BEFORE = repr({"phase": str(Phase.RUNNING)})  # by whoever looked after it before


class Holding:
    """The waiting steps of the partitions that one instance owns."""

    def __init__(
        self,
        agent: WaitingAgent,
        store: CheckpointStore,
        stops: Stops,
        voice: Voice,
        *,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._store = store
        self._stops = stops
        self._voice = voice
        self._instance = instance
        self._clock = clock
        self._wall = wall
        self._ours: frozenset[int] = frozenset()
        self._waiting: dict[str, Waiting] = {}
        self._by_run: dict[str, set[str]] = {}
        self._heap: list[tuple[float, int, Waiting]] = []
        self._entries = 0
        self._wake = asyncio.Event()
        self._looks = asyncio.Semaphore(agent.polls_at_once)
        self._ends = asyncio.Semaphore(ENDS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    # -- what is ours --------------------------------------------------------------------------

    @asynccontextmanager
    async def looked_after(self) -> AsyncGenerator[None]:
        """Look after what waits, for as long as the block lasts."""
        schedule = asyncio.create_task(self._keep_schedule())
        try:
            yield
        finally:
            self._ours = frozenset()
            tasks = [schedule, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def assigned(self, partitions: Collection[int]) -> None:
        """Leave what waits in partitions that are not ours any more."""
        self._ours &= frozenset(partitions)
        for waiting in list(self._waiting.values()):
            if waiting.partition not in self._ours:
                self._forget(waiting)

    def opened(self, partition: int) -> None:
        """Take over what waits in a partition of ours that has been restored."""
        self._ours |= {partition}
        before = len(self._waiting)
        for work in self._store.of_partition(partition):
            self.noticed(partition, work)
        if len(self._waiting) > before:
            log.info(
                "waiting steps taken over", partition=partition, steps=len(self._waiting) - before
            )

    def noticed(self, partition: int, work: str) -> None:
        """Hear that something is kept of a piece of work: it may be a step that waits."""
        checkpoint = self._store.get(partition, work)
        if checkpoint is None or checkpoint.job is None or partition not in self._ours:
            return
        if work in self._waiting or checkpoint.claim is not None:
            return
        try:
            held = Held.read(checkpoint)
        except UndecodableMessage as error:
            self._spawn(self._give_up(partition, work, error_info(error)))
            return
        age_s = max(self._wall() - held.began_ms / 1_000, 0.0)
        wait_s = self._agent.polling.takeover_wait_s(work, age_s)
        self._take(partition, work, held, wait_s=wait_s, said=SAID_BEFORE)

    def began(self, partition: int, work: str, held: Held) -> None:
        """Look after a step from now on whose handle has been kept."""
        if partition in self._ours and work not in self._waiting:
            self._take(partition, work, held, wait_s=self._agent.polling.wait_s(0))

    def holds(self, partition: int, work: str) -> bool:
        """Say whether a step has been begun, and waits."""
        checkpoint = self._store.get(partition, work)
        return checkpoint is not None and checkpoint.job is not None

    def stop(self, run_id: str) -> int:
        """Hear that something of a run has been told to stop; say how many of its steps end now."""
        works = [self._waiting[work] for work in self._by_run.get(run_id, ())]
        return sum(self._stop_if_told(waiting) for waiting in works)

    async def end(self, run_id: str, step: tuple[str, int], why: str, *, within_s: float) -> bool:
        """End a waiting step, since it is about to be undone; False where that takes too long."""
        works = [self._waiting[work] for work in self._by_run.get(run_id, ())]
        waiting = next((waiting for waiting in works if waiting.step == step), None)
        if waiting is None:
            return True
        if not waiting.ending:
            self._end_soon(waiting, cancelled(why))
        if waiting.ender is not None:
            await asyncio.wait({waiting.ender}, timeout=within_s)
        return not self._is_ours(waiting)

    # -- the schedule --------------------------------------------------------------------------

    def _take(
        self, partition: int, work: str, held: Held, *, wait_s: float, said: str = ""
    ) -> None:
        now = self._clock()
        passed_s = max(self._wall() - held.began_ms / 1_000, 0.0)
        deadline = None
        if held.deadline_ms is not None:
            deadline = now + held.deadline_ms / 1_000 - self._wall()
        looks = self._agent.polling.looks_by(passed_s)
        vigil = Vigil(now - passed_s, looks=looks, said=said)
        step = held.step_id, held.attempt
        waiting = Waiting(work, partition, held.run_id, step, vigil, deadline, heard=now)
        self._waiting[work] = waiting
        self._by_run.setdefault(held.run_id, set()).add(work)
        self._plan(waiting, self._most(held, wait_s))
        self._stop_if_told(waiting)

    def _plan(self, waiting: Waiting, wait_s: float) -> None:
        waiting.due = self._clock() + wait_s
        if waiting.deadline is not None:
            waiting.due = min(waiting.due, waiting.deadline)
        self._entries += 1
        heapq.heappush(self._heap, (waiting.due, self._entries, waiting))
        if self._heap[0][2] is waiting:
            self._wake.set()

    def _most(self, held: Held, wait_s: float) -> float:
        """Look often enough for the signs of life that the coordinator expects."""
        if held.heartbeat_s is None:
            return wait_s
        return min(wait_s, max(held.heartbeat_s / 3, SHORTEST_WAIT_S))

    def _forget(self, waiting: Waiting) -> None:
        if self._waiting.get(waiting.work) is not waiting:
            return
        del self._waiting[waiting.work]
        works = self._by_run[waiting.run_id]
        works.discard(waiting.work)
        if not works:
            del self._by_run[waiting.run_id]

    def _is_ours(self, waiting: Waiting) -> bool:
        return self._waiting.get(waiting.work) is waiting

    async def _keep_schedule(self) -> None:
        while True:
            self._wake.clear()
            wait_s = self._heap[0][0] - self._clock() if self._heap else None
            if wait_s is None or wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                continue
            await self._looks.acquire()  # whose turn it is, is decided when there is room
            _, _, waiting = heapq.heappop(self._heap)
            if waiting.ending or not self._is_ours(waiting):
                self._looks.release()
                continue
            waiting.looking = self._spawn(self._look_in_turn(waiting))

    def _spawn(self, doing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("looking after a step failed by our own fault", exc_info=error)

    # -- a look --------------------------------------------------------------------------------

    async def _look_in_turn(self, waiting: Waiting) -> None:
        try:
            await self._look(waiting)
        except Exception:
            log.exception("a look failed by our own fault, there will be others", work=waiting.work)
            self._plan(waiting, LOOK_AGAIN_S)
        finally:
            waiting.looking = None
            self._looks.release()

    async def _look(self, waiting: Waiting) -> None:
        held = self._read(waiting)
        if held is None:
            return
        look = await self._agent.look(held.handle, self._context(held))
        if waiting.ending or not self._is_ours(waiting):
            return
        now = self._clock()
        follows = waiting.vigil.after(look, self._agent, now)
        if isinstance(follows, float) and waiting.deadline is not None and now >= waiting.deadline:
            follows = Look(out_of_time(held), look.handle, unfinished=True)
        if isinstance(follows, Look):
            waiting.ending = True
            waiting.ender = self._spawn(self._bring_to_end(waiting, held, follows))
            return
        if look.handle != held.handle:
            held = held.model_copy(update={"handle": look.handle})
            await self._keep(waiting.partition, waiting.work, held)
        await self._tell(waiting, held, look)
        self._plan(waiting, self._most(held, follows))

    def _read(self, waiting: Waiting) -> Held | None:
        """Read what is kept of a step; where that is nothing, or nonsense, its wait is over."""
        checkpoint = self._store.get(waiting.partition, waiting.work)
        if checkpoint is None or checkpoint.job is None:
            self._forget(waiting)  # whoever else owned it has told its end
            return None
        try:
            return Held.read(checkpoint)
        except UndecodableMessage as error:
            self._forget(waiting)
            self._spawn(self._give_up(waiting.partition, waiting.work, error_info(error)))
            return None

    async def _keep(self, partition: int, work: str, held: Held) -> None:
        before = self._store.get(partition, work)
        if before is None or before.job is None:
            return  # somebody else has told its end meanwhile
        kept = AttemptCheckpoint(work=work, offset=before.offset, job=held.kept())
        await self._store.put(partition, kept)

    async def _tell(self, waiting: Waiting, held: Held, look: Look) -> None:
        news = waiting.vigil.news(look)
        silent_s = self._clock() - waiting.heard
        if news is None and look.status is not None and held.heartbeat_s is not None:
            news = progress_of(look) if silent_s >= held.heartbeat_s / 4 else None
        if news is None:
            return
        waiting.heard = self._clock()
        try:
            await self._voice.progress(held, news)
        except StarlingsError as error:
            log.warning("progress of a step not published", error=str(error))

    def _context(self, held: Held) -> StepContext:
        return held.context(lambda progress: self._voice.progress(held, progress))

    # -- an end --------------------------------------------------------------------------------

    def _stop_if_told(self, waiting: Waiting) -> bool:
        if waiting.ending:
            return False
        held = self._read(waiting)
        if held is None or not self._stops.covers(held.step):
            return False
        self._end_soon(waiting, cancelled("stopped while it waited"))
        return True

    def _end_soon(self, waiting: Waiting, why: ErrorInfo) -> None:
        waiting.ending = True
        if waiting.looking is not None:
            waiting.looking.cancel()
        waiting.ender = self._spawn(self._end_for_us(waiting, why))

    async def _end_for_us(self, waiting: Waiting, why: ErrorInfo) -> None:
        """End what was begun; unless it turns out to have ended by itself just now."""
        held = self._read(waiting)
        if held is None:
            return
        async with self._ends:
            look = await self._agent.look(held.handle, self._context(held))
        if not look.ended or look.unfinished:
            look = Look(None, look.handle, trouble=why, unfinished=True)
        await self._bring_to_end(waiting, held, look)

    async def _bring_to_end(self, waiting: Waiting, held: Held, end: Look) -> None:
        async with self._ends:
            trouble = None
            if end.unfinished:
                ctx = self._context(held)
                trouble = await end_surely(self._agent, end.handle, ctx)
            if not self._is_ours(waiting):
                return
            done = self._done(held, end, trouble)
            await tell_end(lambda said: self._voice.done(said, held), done)
            await self._store.drop(waiting.partition, waiting.work)
            self._forget(waiting)

    async def _give_up(self, partition: int, work: str, error: ErrorInfo) -> None:
        """Bury what nobody can read of a waiting step, and tell its end where its name is known."""
        log.error("a waiting step cannot be read, and fails", work=work, error=error.message)
        checkpoint = self._store.get(partition, work)
        if checkpoint is None:
            return
        await until_taken(lambda: self._store.bury(partition, work, error), what=f"job of {work}")
        attempt = Attempt.named(checkpoint)
        if attempt is None:  # its time limits end it
            log.error("nobody can say which step waited there", work=work)
        else:
            done = StepDone(
                run_id=attempt.run_id,
                step_id=attempt.step_id,
                attempt=attempt.attempt,
                agent=self._agent.name,
                outcome=StepOutcome.ERROR,
                error=error.model_copy(update={"retryable": True}),
                instance=self._instance,
            )
            await tell_end(lambda said: self._voice.done(said, None), done)
        await self._store.drop(partition, work)

    def _done(self, held: Held, end: Look, trouble: ErrorInfo | None) -> StepDone:
        ctx, what = self._context(held), f"the {self._agent.kind}"
        spent = Spent()
        if end.status is None:  # we have ended it
            result, error, outcome = None, end.trouble, StepOutcome.CANCELLED
        else:
            result, error = outcome_of(end.status, ctx, what)
            spent.add(result.usage)
            outcome = StepOutcome.OK if error is None else StepOutcome.ERROR
        if error is not None and trouble is not None:
            said = f"{error.message}; {what} could not be ended and may run on: {trouble.message}"
            error = error.model_copy(update={"message": said})
        return step_done(
            self._agent,
            held.step,
            result if error is None else None,
            error,
            outcome=outcome,
            spent=spent,
            instance=self._instance,
            duration_s=max(self._wall() - held.began_ms / 1_000, 0.0),
            record=handle_record(end.handle),
        )
