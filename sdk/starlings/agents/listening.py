"""An agent that reacts to domain events on Kafka: a consumer group per type that it listens to.

What an event's life at an agent is made of, in this order: it is taken from `facts.<type>`, reacted
to, the events that follow from it are published and acknowledged, then the record of the reaction
on `events`, and only then does its offset count as done. What Kafka does not take is kept, and
published when it does. A crash in between repeats the reaction, with the same idempotency key, and
emits the same events under the same ids; whoever listens to those drops the repeats. An event that
cannot be reacted to goes to the dead letters with the reason, which the record tells too. One that
met a provider's limit is handed back, and reacted to again when the agent has cooled down (`pace`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog
from aiokafka import ConsumerRecord

from starlings.kafka.codec import Received
from starlings.kafka.dead_letters import bury
from starlings.kafka.domain_events import DomainEventCodec
from starlings.kafka.parallel import ConsumerSettings, ParallelConsumer, Refused
from starlings.kafka.until_taken import until_taken
from starlings.messages import (
    HOP_LIMIT,
    AgentAlive,
    DomainEvent,
    EventHandled,
    InvariantBroken,
    error_info,
    handled_id,
    run_key,
)
from starlings.service import KafkaPorts, log_context

from .agent import Agent
from .model_port import ModelPort
from .pace import Pace
from .presence import BEAT_EVERY_S, registered
from .react import react, summary_of
from .tracing import note_reaction, reaction_span

log = structlog.get_logger(__name__)


class ReactionFailed(Refused):
    """An agent has given an event up; the record says why."""

    def __init__(self, handled: EventHandled, traceparent: str) -> None:
        self.handled = handled
        self.traceparent = traceparent
        error = handled.error
        super().__init__(error.message if error else "", code=error.code if error else None)


class EventRuntime:
    """One instance of one agent, where it reacts to events.

    `registers`: whether it enters the registry itself, since nobody else does it for the agent.
    """

    def __init__(
        self,
        agent: Agent,
        ports: KafkaPorts,
        *,
        instance: str,
        model: ModelPort | None = None,
        concurrency: int | None = None,
        hop_limit: int = HOP_LIMIT,
        registers: bool = True,
    ) -> None:
        self.agent = agent
        self._ports = ports
        self._codec = DomainEventCodec(ports.codec, ports.topics)
        self._instance = instance
        self._model = model
        self._hop_limit = hop_limit
        self._registers = registers
        self._started_at = datetime.now(UTC)
        room = concurrency or agent.concurrency
        self.consumers = {name: self._consumer(name, room) for name in agent.reactions}
        self.paces = {
            name: Pace(agent.name, ports, consumer, instance=instance)
            for name, consumer in self.consumers.items()
        }

    def _consumer(self, event_type: str, concurrency: int) -> ParallelConsumer:
        topics = self._ports.topics
        group_id = topics.event_group(self.agent.name, event_type)
        return ParallelConsumer(
            self._ports.connection,
            self._codec,
            topic=topics.facts(event_type),
            group_id=group_id,
            concurrency=concurrency,
            handler=self._handle,
            on_undecodable=partial(self._bury, group_id),
            on_poison=partial(self._bury, group_id),
            settings=ConsumerSettings(seat=self._ports.seat),
        )

    def not_ready(self) -> str | None:
        """Say why this instance hears of no events yet; None where it does."""
        waiting = [name for name, consumer in self.consumers.items() if not consumer.ready]
        return (
            f"no partition of {', '.join(waiting)} yet, or still reading back" if waiting else None
        )

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """React to events until told to stop."""
        async with contextlib.AsyncExitStack() as stack:
            for pace in self.paces.values():
                await stack.enter_async_context(pace.kept())
            if self._registers:
                definition = self.agent.definition()
                await stack.enter_async_context(registered(definition, self._ports, self._alive))
            log.info("agent listens", agent=self.agent.name, events=sorted(self.consumers))
            async with asyncio.TaskGroup() as group:
                for consumer in self.consumers.values():
                    group.create_task(consumer.run(stop, grace_s))

    def _alive(self) -> AgentAlive:
        consumers = self.consumers.values()
        return AgentAlive(
            agent=self.agent.name,
            instance=self._instance,
            concurrency=sum(consumer.concurrency for consumer in consumers),
            running=sum(consumer.running for consumer in consumers),
            started_at=self._started_at,
            interval_s=BEAT_EVERY_S,
        )

    # -- one event -----------------------------------------------------------------------------

    async def _handle(self, received: Received) -> None:
        event = received.message
        if not isinstance(event, DomainEvent):
            raise InvariantBroken(f"{event.NAME} does not belong on {received.origin.topic}")
        name = self.agent.name
        group_id = self._ports.topics.event_group(name, event.type)
        span = reaction_span(self._ports.tracer, name, event, received, group_id)
        trace = span.traceparent
        with span, log_context(run_id=event.correlation_id, traceparent=trace):
            reaction = await react(
                self.agent,
                event,
                model=self._model,
                hop_limit=self._hop_limit,
                instance=self._instance,
                hands_back=True,
                replaying=received.envelope.replay is not None,
            )
            note_reaction(span, reaction.handled)
            if await self.paces[event.type].judge(event.id, reaction.handled.error) is not None:
                raise ReactionFailed(reaction.handled, trace)
            replay = received.envelope.replay
            await self._emit(reaction.emitted, trace, replay)
            await self._record(reaction.handled, trace, replay)

    async def _emit(self, events: Sequence[DomainEvent], trace: str, replay: str | None) -> None:
        for event in events:  # one after the other: their order is part of what was said
            value, headers = await until_taken(
                partial(
                    self._codec.encode,
                    event,
                    traceparent=trace,
                    summary=summary_of(event),
                    replay=replay,
                ),
                what=f"event {event.id}",
            )
            topic = self._ports.topics.facts(event.type)
            key = run_key(event.correlation_id)
            send = partial(self._ports.publisher.forward, topic, key, value, headers=headers)
            await until_taken(send, what=f"event {event.id}")

    async def _record(self, handled: EventHandled, trace: str, replay: str | None = None) -> None:
        publish = partial(
            self._ports.publisher.publish,
            self._ports.topics.events,
            run_key(handled.run_id),
            handled,
            id=handled_id(handled.event_id, handled.agent),
            subject=handled.run_id,
            traceparent=trace,
            causation_id=handled.event_id,
            replay=replay,
        )
        await until_taken(publish, what=f"what came of event {handled.event_id}")

    async def _bury(self, group_id: str, record: ConsumerRecord, error: Exception) -> None:
        await bury(
            self._ports.publisher,
            record,
            error_info(error),
            topics=self._ports.topics,
            group=group_id,
        )
        if isinstance(error, ReactionFailed):
            await self._record(error.handled, error.traceparent)
