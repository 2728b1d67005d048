"""Publishing what a partition owes: at least once, under ids that are always the same.

A decision that goes to another topic is confirmed on `events` once Kafka has acknowledged it, never
before. What Kafka did not take is tried again until it is acknowledged; what can never be taken is
answered for on `events`, so that no run waits for it (`refusals.py`).

Nobody waits for a send: what is quick goes out in the order in which it was handed over; what has
to wait for an unknown topic or for the blob store waits alone.

Confirmations wait a moment: a step that has started or ended by then confirms its own release, so
that a short step costs one fact and not two. A crash within that time repeats the release, under
the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from starlings.choreography import (
    ELSEWHERE,
    Decision,
    DecisionKind,
    Run,
    abandoned,
    confirmation_for,
    message_for,
)
from starlings.kafka.codec import CLAIM_ABOVE_BYTES
from starlings.kafka.dead_letters import written_headers
from starlings.kafka.publisher import Publisher, publish_error
from starlings.messages import (
    CompensationReady,
    ConfigError,
    Headers,
    Message,
    PlanAmended,
    StarlingsError,
    StepReady,
    Topics,
    TransientError,
    run_key,
    step_key,
)

from .directory import TopicDirectory
from .refusals import in_place_id, in_place_of, unknown_agent

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
    headers: Sequence[tuple[str, bytes]] = ()  # beside those of every message


class Outbox:
    """Sends parcels in batches; a batch's confirmations follow its acknowledgements."""

    def __init__(self, publisher: Publisher, topics: Topics, directory: TopicDirectory) -> None:
        self._publisher = publisher
        self._topics = topics
        self._directory = directory
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self.unacknowledged = 0

    # -- addressing ----------------------------------------------------------------------------

    def parcel(self, run: Run, decision: Decision, cause: Cause) -> Parcel:
        """Address a decision."""
        message = message_for(run, decision)
        topic, key = self._address(run, decision, message)
        return Parcel(
            topic,
            key,
            decision.id,
            run.run_id,
            message,
            cause,
            carries_out=(run, decision) if decision.kind in ELSEWHERE else None,
            headers=self._more_headers(run, decision),
        )

    def _more_headers(self, run: Run, decision: Decision) -> Headers:
        """Say with a dead letter why it is one, and where it would go."""
        if decision.kind is not DecisionKind.BURY:
            return []
        agent = run.undos[decision.step_id or "", decision.attempt].spec.agent
        return written_headers(
            abandoned(run, decision),
            topic=self._topics.steps(agent),
            key=step_key(run.run_id, decision.step_id or ""),
        )

    def _address(self, run: Run, decision: Decision, message: Message) -> tuple[str, bytes]:
        if decision.kind is DecisionKind.BURY:
            return self._topics.dead_letters, step_key(run.run_id, decision.step_id or "")
        if isinstance(message, StepReady):
            topic = self._topics.steps(message.agent, message.variant)
            return topic, step_key(run.run_id, message.step_id)
        if isinstance(message, CompensationReady):
            return self._topics.steps(message.agent), step_key(run.run_id, message.step_id)
        if decision.kind is DecisionKind.PLAN_ANEW:
            return self._topics.requests, run_key(run.run_id)
        stops = decision.kind is DecisionKind.STOP
        return self._topics.control if stops else self._topics.events, run_key(run.run_id)

    def on_events(self, run_id: str, ident: str, fact: Message, cause: Cause = NO_CAUSE) -> Parcel:
        """Address a fact."""
        return Parcel(self._topics.events, run_key(run_id), ident, run_id, fact, cause)

    def _confirmation(self, run: Run, decision: Decision) -> Parcel | None:
        """Confirm a decision, where the log has not said by itself that it was carried out."""
        confirmation = confirmation_for(run, decision) if decision.id in run.owed else None
        if confirmation is None:
            return None
        return self.on_events(run.run_id, confirmation.id, confirmation.message, Cause(decision.id))

    # -- sending -------------------------------------------------------------------------------

    def send(self, parcels: Sequence[Parcel]) -> None:
        """Take parcels over; all that follows goes on in the background."""
        if not parcels:
            return
        self.unacknowledged += len(parcels)
        quick = [parcel for parcel in parcels if self._are_known(parcel)]
        if quick:
            self._start(self._send_all(quick))
        if len(quick) < len(parcels):
            for parcel in parcels:
                if not self._are_known(parcel):
                    self._start(self._send_one(parcel))

    def _are_known(self, parcel: Parcel) -> bool:
        return self._is_known(parcel.topic) and all(map(self._is_known, self._named(parcel)))

    def _named(self, parcel: Parcel) -> list[str]:
        """List the topics that a message speaks of: those of agents that are to get work."""
        if not isinstance(parcel.message, PlanAmended):
            return []
        amendment = parcel.message.amendment
        steps = [s for s in (*amendment.add, *amendment.replace) if not (s.approval or s.signal)]
        return sorted({self._topics.steps(step.agent) for step in steps})

    def _is_known(self, topic: str) -> bool:
        return self._topics.agent_of(topic) is None or self._directory.knows(topic)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self, parcels: Sequence[Parcel]) -> None:
        """Send in order; what is large or refused goes on alone."""
        sent: list[tuple[Parcel, asyncio.Future[Any]]] = []
        for parcel in parcels:
            try:
                value, headers = self._write(parcel)
                if len(value) > CLAIM_ABOVE_BYTES:
                    self._start(self._send_one(parcel))
                else:
                    acknowledgement = await self._publisher.send_raw(
                        parcel.topic, parcel.key, value, headers
                    )
                    sent.append((parcel, acknowledgement))
            except Exception as error:
                self._start(self._send_one(parcel, failure=_as_ours(parcel.topic, error)))
        carried_out: list[tuple[Run, Decision]] = []
        for parcel, acknowledgement in sent:
            failure = await _failure(parcel.topic, acknowledgement)
            if failure is not None:
                self._start(self._send_one(parcel, failure=failure))
                continue
            self.unacknowledged -= 1
            if parcel.carries_out is not None:
                carried_out.append(parcel.carries_out)
        await self._confirm(carried_out)

    async def _send_one(self, parcel: Parcel, *, failure: StarlingsError | None = None) -> None:
        """Send a parcel until it is acknowledged, or answered for, or the outbox closes."""
        while True:
            for topic in (parcel.topic, *self._named(parcel)):
                if failure is None and not await self._has_topic(topic):
                    failure = unknown_agent(topic)
            if failure is None:
                failure = await self._try(parcel)
            if failure is None:
                self.unacknowledged -= 1
                await self._confirm([parcel.carries_out] if parcel.carries_out else [])
                return
            log.warning("not acknowledged", id=parcel.id, topic=parcel.topic, error=str(failure))
            if self._is_final(parcel, failure) or self._closing.is_set():
                self.unacknowledged -= 1
                self._answer_for(parcel, failure)
                return
            self._directory.forget(parcel.topic)
            await self._pause(RETRY_AFTER_S)
            failure = None

    async def _has_topic(self, topic: str) -> bool:
        return self._is_known(topic) or await self._directory.has(topic)

    def _is_final(self, parcel: Parcel, failure: StarlingsError) -> bool:
        """Say whether no other try can help; what a person can mend in our own topics, may."""
        if isinstance(failure, ConfigError):
            denied = isinstance(failure.__cause__, TopicAuthorizationFailedError)
            return denied and self._topics.agent_of(parcel.topic) is not None
        return not failure.retryable

    def _answer_for(self, parcel: Parcel, failure: StarlingsError) -> None:
        """Tell the log what could not be published, where a run waits for it."""
        instead = in_place_of(parcel.message, failure) if self._is_final(parcel, failure) else None
        if instead is not None:
            ident = in_place_id(parcel.message)
            self.send([self.on_events(parcel.run_id, ident, instead, parcel.cause)])
        else:
            log.error("given up", id=parcel.id, topic=parcel.topic, error=str(failure))

    def _write(self, parcel: Parcel) -> tuple[bytes, Headers]:
        value, headers = self._publisher.codec.write(
            parcel.message,
            id=parcel.id,
            subject=parcel.run_id,
            traceparent=parcel.cause.traceparent,
            causation_id=parcel.cause.id,
        )
        headers += parcel.headers
        return value, headers

    async def _try(self, parcel: Parcel) -> StarlingsError | None:
        try:
            value, headers = self._write(parcel)
            if len(value) > CLAIM_ABOVE_BYTES:
                value, headers = await self._publisher.codec.claim(value, headers)
            acknowledgement = await self._publisher.send_raw(
                parcel.topic, parcel.key, value, headers
            )
        except Exception as error:
            return _as_ours(parcel.topic, error)
        return await _failure(parcel.topic, acknowledgement)

    async def _confirm(self, carried_out: Sequence[tuple[Run, Decision]]) -> None:
        if carried_out:
            await self._pause(CONFIRM_AFTER_S)
            confirmations = (self._confirmation(run, decision) for run, decision in carried_out)
            self.send([parcel for parcel in confirmations if parcel is not None])

    async def repeat(self, record: ConsumerRecord) -> None:
        """Publish a record again as it lies in the log."""
        headers = list(record.headers)
        await self._publisher.forward(record.topic, record.key, record.value, headers=headers)

    # -- room, and the end ---------------------------------------------------------------------

    async def room(self, within_s: float) -> bool:
        """Say whether more may be handed over; wait a while for Kafka to catch up."""
        if self.unacknowledged >= MAX_UNACKNOWLEDGED and self._tasks:
            await asyncio.wait(
                set(self._tasks), timeout=within_s, return_when=asyncio.FIRST_COMPLETED
            )
        return self.unacknowledged < MAX_UNACKNOWLEDGED

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def close(self, grace_s: float) -> None:
        """Stop trying again; let what is under way arrive, and be confirmed, within the grace."""
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        late = set(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _failure(topic: str, acknowledgement: asyncio.Future[Any]) -> StarlingsError | None:
    """Wait for an acknowledgement; return what went wrong, if anything did."""
    if not acknowledgement.done():  # most of a batch arrive together
        await asyncio.wait({acknowledgement})
    if acknowledgement.cancelled():
        return TransientError("the producer was closed", code="kafka_unavailable")
    error = acknowledgement.exception()
    return None if error is None else _as_ours(topic, error)


def _as_ours(topic: str, error: BaseException) -> StarlingsError:
    """Say of any error what it means; what nobody has thought of is tried again."""
    if isinstance(error, StarlingsError):
        return error
    known = isinstance(error, KafkaError)
    ours = publish_error(topic, error) if known else TransientError(f"not sent: {error!r}")
    ours.__cause__ = error
    return ours
