"""A stage for agents: real Kafka, instances of one agent in this process, the coordinator played.

The test publishes work and stops with the real codec, and sees what the agent says on `events`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from support.sites import Site
from support.waiting import wait_until

from starlings import Agent
from starlings.agents.runtime import AgentRuntime
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Received
from starlings.kafka.follow import Follower
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    REDRIVE_HEADER,
    CompensationReady,
    Message,
    Origin,
    StepReady,
    StopRequested,
    attempt_id,
    redrive_mark,
    run_key,
    step_key,
    undo_id,
)
from starlings.service import KafkaPorts


@dataclass(eq=False)
class Instance:
    """An instance of the agent at work in this process."""

    runtime: AgentRuntime
    stop: asyncio.Event
    life: asyncio.Task[None]

    async def leave(self) -> None:
        """Stop as after SIGTERM."""
        self.stop.set()
        await self.life


@dataclass(eq=False)
class AgentStage:
    """One agent's topics under a prefix of this test's own."""

    site: Site
    agent: Agent
    publisher: Publisher
    stack: AsyncExitStack
    facts: list[Received] = field(default_factory=list)

    async def start(self, name: str = "i1") -> Instance:
        """Start an instance and wait until it takes steps."""
        connection, codec = self.site.connection, self.site.codec
        ports = KafkaPorts(connection, codec, self.publisher, self.site.topics)
        runtime, stop = AgentRuntime(self.agent, ports, instance=name), asyncio.Event()
        life = asyncio.create_task(runtime.run(stop, 1.0))
        self.stack.push_async_callback(self._end, stop, life)
        await wait_until(
            lambda: life.done() or runtime.not_ready() is None,
            timeout_s=60,
            message=f"{name} at work",
        )
        return Instance(runtime, stop, life)

    async def _end(self, stop: asyncio.Event, life: asyncio.Task[None]) -> None:
        stop.set()
        await asyncio.gather(life, return_exceptions=True)

    async def work(self, ready: StepReady | CompensationReady) -> None:
        """Publish work as the coordinator does."""
        place = (ready.run_id, ready.step_id, ready.attempt)
        ident = (
            attempt_id(*place, ready.NAME)
            if isinstance(ready, StepReady)
            else undo_id(*place, ready.number, ready.NAME)
        )
        topic = self.site.topics.steps(self.agent.name)
        await self._publish(topic, step_key(ready.run_id, ready.step_id), ready, ident)

    async def step(self, run_id: str = "r1", step_id: str = "s1", attempt: int = 1, **more) -> None:
        given = {"run_id": run_id, "step_id": step_id, "attempt": attempt, "task": "do it"}
        await self.work(StepReady(agent=self.agent.name, **given, **more))

    async def send_back(self) -> None:
        """Publish a step as somebody does who sends it back from the dead letters."""
        topic = self.site.topics.steps(self.agent.name)
        ready = StepReady(run_id="r1", step_id="s1", attempt=1, agent=self.agent.name, task="do it")
        ident = attempt_id("r1", "s1", 1, ready.NAME)
        value, headers = self.site.codec.write(ready, id=ident, subject="r1")
        mark = (REDRIVE_HEADER, redrive_mark(Origin(topic, 0, 0), 1))
        await self.publisher.forward(topic, step_key("r1", "s1"), value, headers=[mark, *headers])

    async def undo(self, run_id: str = "r1", step_id: str = "s1", number: int = 1, **more) -> None:
        given = {"run_id": run_id, "step_id": step_id, "attempt": 1, "number": number}
        await self.work(CompensationReady(agent=self.agent.name, **given, **more))

    async def stop(self, run_id: str = "r1", **more) -> None:
        """Publish a stop as the coordinator does."""
        stop = StopRequested(run_id=run_id, **more)
        await self._publish(self.site.topics.control, run_key(run_id), stop, f"{run_id}/{more}")

    async def _publish(self, topic: str, key: bytes, message: Message, ident: str) -> None:
        await self.publisher.publish(topic, key, message, id=ident, subject=message.run_id)

    async def said(self, ident: str) -> Message:
        """Wait for a fact of the agent."""

        def find() -> list[Received]:
            return [fact for fact in self.facts if fact.envelope.id == ident]

        seen = [fact.envelope.id for fact in self.facts]
        found = await wait_until(find, timeout_s=30, message=f"{ident} said; there was {seen}")
        return found[0].message

    async def watch(self) -> None:
        topic = self.site.topics.events
        follower = Follower(self.site.connection, self.site.codec, topic, from_start=True)
        async for received in follower:
            if isinstance(received, Received):
                self.facts.append(received)


@pytest.fixture
async def open_stage(plain_site) -> AsyncIterator[object]:
    """Open a stage for an agent."""
    async with AsyncExitStack() as stack:

        async def open_one(agent: Agent) -> AgentStage:
            site = plain_site
            specs = [
                *site.topics.core_specs(partitions=1),
                *site.topics.agent_specs(agent.name, partitions=1),
            ]
            await ensure_topics(site.connection, specs, replication=1)
            publisher = Publisher(site.connection, site.codec)
            await publisher.start()
            stack.push_async_callback(publisher.stop)
            stage = AgentStage(site, agent, publisher, stack)
            watching = asyncio.create_task(stage.watch())
            stack.push_async_callback(asyncio.gather, watching, return_exceptions=True)
            stack.callback(watching.cancel)
            return stage

        yield open_one
