"""Undoing steps on Kafka: compensations beside the forward attempts that they undo.

Both come by the same topic under the same key, so they meet on one instance, where two rules hold
(those of Seata's branch transactions):

- **No forward work after its compensation.** An attempt whose compensation has been seen is refused
  when it comes, late or from a second coordinator: it would leave an effect that nobody undoes. Its
  compensation has been seen where this instance has had it (the newest `REMEMBERED`), or where its
  id is among those that the consumer remembers of the partition. The latter are read back at an
  assignment, so a new owner knows what came in the last 15 minutes or 10,000 records. What is older
  than that, or lies on the topic of another agent or variant, is left to `control`: a run's stop
  covers all its attempts for as long as that topic keeps it.
- **No compensation while its attempt is at work.** The attempt is told to stop, and its end waited
  for: what it does afterwards would not be undone. Where it does not heed that within
  half a minute, the try fails, to be made again later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlings.kafka.parallel import Cancellation, ParallelConsumer, cancellation
from starlings.messages import (
    CompensationDone,
    CompensationReady,
    Origin,
    StepReady,
    undo_id,
)

from .agent import Agent
from .compensate import execute_compensation, patience_s, still_running, stopped
from .model_port import ModelPort

REMEMBERED = 100_000

Attempt = tuple[str, str, int]
EndWaiting = Callable[[CompensationReady], Awaitable[bool]]  # of a job that holds no slot


class Undoing:
    """Carries out the compensations of one instance of an agent."""

    def __init__(
        self,
        agent: Agent,
        consumer: ParallelConsumer,
        *,
        instance: str,
        model: ModelPort | None = None,
        end_waiting: EndWaiting | None = None,
    ) -> None:
        self._agent = agent
        self._end_waiting = end_waiting
        self._consumer = consumer
        self._instance = instance
        self._model = model
        self._at_work: dict[Attempt, Origin] = {}
        self._awaited: dict[Attempt, asyncio.Event] = {}
        self._seen: OrderedDict[Attempt, None] = OrderedDict()

    def begins(self, ready: StepReady, origin: Origin) -> None:
        """Note that an attempt is at work, until `ends` is called."""
        self._at_work[_attempt(ready)] = origin

    def ends(self, ready: StepReady) -> None:
        """Note that an attempt is at work no more."""
        attempt = _attempt(ready)
        self._at_work.pop(attempt, None)
        if self._awaited and (ended := self._awaited.pop(attempt, None)) is not None:
            ended.set()

    def forbids(self, ready: StepReady, origin: Origin) -> bool:
        """Say whether an attempt comes after its compensation."""
        if _attempt(ready) in self._seen:
            return True
        first = undo_id(ready.run_id, ready.step_id, ready.attempt, 1, CompensationReady.NAME)
        return self._consumer.has_seen(origin, first)

    async def undo(self, ready: CompensationReady, *, replaying: bool = False) -> CompensationDone:
        """Make one try to undo an attempt.

        Raises:
            asyncio.CancelledError: handed back, or somebody else's now.
        """
        self._remember(_attempt(ready))
        try:
            if not await self._forward_has_ended(ready):
                return still_running(ready, instance=self._instance)
            return await execute_compensation(
                self._agent,
                ready,
                model=self._model,
                instance=self._instance,
                replaying=replaying,
            )
        except asyncio.CancelledError:
            if cancellation() is not Cancellation.REQUESTED:
                raise
            return self.stopped(ready, "stopped while it ran")

    def stopped(self, ready: CompensationReady, why: str) -> CompensationDone:
        """Say that a try was stopped."""
        return stopped(ready, why, instance=self._instance)

    def _remember(self, attempt: Attempt) -> None:
        self._seen[attempt] = None
        self._seen.move_to_end(attempt)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    async def _forward_has_ended(self, ready: CompensationReady) -> bool:
        attempt = _attempt(ready)
        origin = self._at_work.get(attempt)
        if origin is None:
            return self._end_waiting is None or await self._end_waiting(ready)
        ended = self._awaited.setdefault(attempt, asyncio.Event())
        self._consumer.cancel(origin)
        try:
            async with asyncio.timeout(patience_s(ready)):
                await ended.wait()
        except TimeoutError:
            return False
        return True


def _attempt(work: StepReady | CompensationReady) -> Attempt:
    return work.run_id, work.step_id, work.attempt
