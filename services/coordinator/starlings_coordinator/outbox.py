"""Publishing what a partition owes: at least once, under ids that are always the same.

A decision that goes to another topic is confirmed on `events` once Kafka has acknowledged it, never
before. What could not be sent is tried again until it is acknowledged, or until the partition has
gone to somebody else, who then owes it.

Confirmations wait a moment: a step that has started or ended by then confirms its own release, so
that a short step costs one fact and not two. A crash within that time repeats the release, under
the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from starlings.choreography import Decision, DecisionKind, Run, confirmation_for, message_for
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    ErrorInfo,
    Message,
    StepDone,
    StepOutcome,
    Topics,
    attempt_id,
    run_key,
    step_key,
)

log = structlog.get_logger()

RETRY_AFTER_S = 1.0
MAX_UNACKNOWLEDGED = 20_000
CONFIRM_AFTER_S = 0.5


class Cause(NamedTuple):
    """The fact that led to a decision."""

    id: str | None = None
    traceparent: str | None = None


NO_CAUSE = Cause()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message with its address.

    `carries_out` is the decision that is to be confirmed once this has arrived.
    """

    topic: str
    key: bytes
    id: str
    run_id: str
    message: Message
    cause: Cause = NO_CAUSE
    carries_out: tuple[Run, Decision] | None = None


class Outbox:
    """Sends parcels in batches; a batch's confirmations follow its acknowledgements."""

    def __init__(
        self,
        publisher: Publisher,
        topics: Topics,
        *,
        topic_exists: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._publisher = publisher
        self._topics = topics
        self._topic_exists = topic_exists
        self._tasks: set[asyncio.Task[None]] = set()
        self.unacknowledged = 0
        self.closed = False

    async def parcel(self, run: Run, decision: Decision, cause: Cause) -> Parcel:
        """Address a decision."""
        if decision.kind is DecisionKind.RELEASE:
            return await self._work(run, decision, cause)
        elsewhere = decision.kind is DecisionKind.STOP
        return Parcel(
            self._topics.control if elsewhere else self._topics.events,
            run_key(run.run_id),
            decision.id,
            run.run_id,
            message_for(run, decision),
            cause,
            (run, decision) if elsewhere else None,
        )

    async def _work(self, run: Run, decision: Decision, cause: Cause) -> Parcel:
        step = run.steps[decision.step_id or ""].spec
        topic = self._topics.steps(step.agent)
        if not await self._topic_exists(topic):
            return self._undeliverable(run, decision, topic)
        return Parcel(
            topic,
            step_key(run.run_id, step.id),
            decision.id,
            run.run_id,
            message_for(run, decision),
            cause,
            (run, decision),
        )

    def _undeliverable(self, run: Run, decision: Decision, topic: str) -> Parcel:
        """Put on record that an attempt cannot reach its agent, so that the run does not hang."""
        step = run.steps[decision.step_id or ""].spec
        error = ErrorInfo(
            code="unknown_agent",
            message=f"agent {step.agent!r} has never been started here: topic {topic} is missing",
        )
        done = StepDone(
            run_id=run.run_id,
            step_id=step.id,
            attempt=decision.attempt,
            agent=step.agent,
            outcome=StepOutcome.ERROR,
            error=error,
            instance="coordinator",
        )
        ident = attempt_id(run.run_id, step.id, decision.attempt, StepDone.NAME)
        return Parcel(self._topics.events, run_key(run.run_id), ident, run.run_id, done)

    def _confirmation(self, run: Run, decision: Decision) -> Parcel | None:
        """Confirm a decision, where the log has not said by itself that it was carried out."""
        confirmation = confirmation_for(run, decision) if decision.id in run.owed else None
        if confirmation is None:
            return None
        return Parcel(
            self._topics.events,
            run_key(run.run_id),
            confirmation.id,
            run.run_id,
            confirmation.message,
            Cause(decision.id),
        )

    async def send(self, parcels: Sequence[Parcel]) -> None:
        """Hand parcels to the producer in order; what follows goes on in the background."""
        sent = [(parcel, await self._try(parcel)) for parcel in parcels]
        if sent:
            self.unacknowledged += len(sent)
            task = asyncio.create_task(self._see_through(sent))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _try(self, parcel: Parcel) -> asyncio.Future[Any] | Exception:
        try:
            return await self._publisher.send(
                parcel.topic,
                parcel.key,
                parcel.message,
                id=parcel.id,
                subject=parcel.run_id,
                traceparent=parcel.cause.traceparent,
                causation_id=parcel.cause.id,
            )
        except Exception as error:
            return error

    async def _see_through(
        self, sent: Sequence[tuple[Parcel, asyncio.Future[Any] | Exception]]
    ) -> None:
        try:
            carried_out = [
                parcel.carries_out
                for parcel, attempt in sent
                if await self._acknowledged(parcel, attempt) and parcel.carries_out is not None
            ]
        finally:
            self.unacknowledged -= len(sent)
        if carried_out:
            await asyncio.sleep(CONFIRM_AFTER_S)
            confirmations = (self._confirmation(run, decision) for run, decision in carried_out)
            await self.send([parcel for parcel in confirmations if parcel is not None])

    async def room(self) -> None:
        """Wait until Kafka has caught up with what was sent."""
        while self.unacknowledged >= MAX_UNACKNOWLEDGED and self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    async def _acknowledged(self, parcel: Parcel, attempt: asyncio.Future[Any] | Exception) -> bool:
        """Wait for the acknowledgement; try again until it comes or the outbox is closed."""
        while True:
            error = attempt if isinstance(attempt, Exception) else await _failure(attempt)
            if error is None:
                return True
            log.warning(
                "not acknowledged, trying again",
                id=parcel.id,
                topic=parcel.topic,
                error=str(error) or type(error).__name__,
            )
            if self.closed:
                return False
            await asyncio.sleep(RETRY_AFTER_S)
            attempt = await self._try(parcel)

    async def close(self, grace_s: float) -> None:
        """Stop trying again; let what is under way arrive within the grace."""
        self.closed = True
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=grace_s)
            for task in late:
                task.cancel()


async def _failure(acknowledgement: asyncio.Future[Any]) -> Exception | None:
    """Wait for an acknowledgement; return what went wrong, if anything did."""
    try:
        await acknowledgement
    except Exception as error:
        return error
    return None
