"""Free choreography in this process: the same reactions, a queue instead of Kafka.

    chain = await LocalChoreography([support, technical]).emit(TicketCreated(…))
    assert chain.of(TicketSolved)

Events are handed on in the order in which they were emitted, each to all agents that listen to its
type. An event whose id has been there before is dropped, as on Kafka. Nothing survives the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from starlings.agents import Agent
from starlings.agents.event import event_type_of, new_event
from starlings.agents.execute import ModelPort
from starlings.agents.models import AgentModels
from starlings.agents.react import react
from starlings.choreography import Chain
from starlings.messages import HOP_LIMIT, DomainEvent, EventHandled

INSTANCE = "local"
M = TypeVar("M", bound=BaseModel)


@dataclass
class LocalChain:
    """All that an event led to."""

    events: list[DomainEvent] = field(default_factory=list)
    handled: list[EventHandled] = field(default_factory=list)
    chain: Chain = field(default_factory=Chain)

    def of(self, model: type[M]) -> list[M]:
        """Read the events that a model stands for."""
        name = event_type_of(model)
        return [model.model_validate_json(e.value) for e in self.events if e.type == name]

    @property
    def failed(self) -> list[EventHandled]:
        """The reactions that were given up; on Kafka their events lie in the dead letters."""
        return [handled for handled in self.handled if handled.error is not None]


class LocalChoreography:
    """Agents that hear each other's events, in one process.

    Args:
        agents: those that take part.
        hop_limit: how many reactions a chain may have, one after the other.
        on_handled: called with every record of a reaction, as it is made.
        model: asked by all agents that ask one; `AgentModels()` gives each its own.
        skip_waits: let pauses before another try take no time.
    """

    def __init__(
        self,
        agents: Collection[Agent],
        *,
        hop_limit: int = HOP_LIMIT,
        on_handled: Callable[[EventHandled], None] = lambda _handled: None,
        model: ModelPort | AgentModels | None = None,
        skip_waits: bool = False,
    ) -> None:
        self._agents = list(agents)
        self._hop_limit = hop_limit
        self._on_handled = on_handled
        self._model = model
        self._sleep = _no_time if skip_waits else asyncio.sleep
        self._seen: set[tuple[str, str]] = set()
        self._emitted = 0

    async def emit(
        self,
        event: BaseModel | str,
        payload: Any = None,
        *,
        correlation_id: str | None = None,
        event_id: str | None = None,
    ) -> LocalChain:
        """Emit an event, a model or a type with its payload; return all that came of it."""
        self._emitted += 1
        ident = event_id or f"{INSTANCE}-{self._emitted}"
        queue = deque([new_event(event, payload, id=ident, correlation_id=correlation_id)])
        chain = LocalChain()
        while queue:
            current = queue.popleft()
            if (current.type, current.id) not in self._seen:
                self._seen.add((current.type, current.id))
                queue += await self._hand_on(current, chain)
        return chain

    async def _hand_on(self, event: DomainEvent, chain: LocalChain) -> list[DomainEvent]:
        chain.events.append(event)
        listening = [agent for agent in self._agents if event.type in agent.reactions]
        reactions = await asyncio.gather(
            *(
                react(
                    agent,
                    event,
                    model=self._model.of(agent)
                    if isinstance(self._model, AgentModels)
                    else self._model,
                    hop_limit=self._hop_limit,
                    instance=INSTANCE,
                    sleep=self._sleep,
                )
                for agent in listening
            )
        )
        for reaction in reactions:
            chain.handled.append(reaction.handled)
            chain.chain.add(reaction.handled)
            self._on_handled(reaction.handled)
        return [event for reaction in reactions for event in reaction.emitted]


async def _no_time(_seconds: float) -> None:
    """Let a pause take no time; others go on all the same."""
    await asyncio.sleep(0)
