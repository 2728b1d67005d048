"""A stage for the coordinator: real Kafka, coordinators in this process, all other parts played.

The test is client, planner and agents: it publishes facts with the real codec and sees everything
that appears on the topics.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord, OffsetAndMetadata, TopicPartition
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Codec, Received
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.kafka.restore_point import read_metadata
from starlings.messages import (
    Message,
    Plan,
    PlanCreated,
    RunDone,
    RunOptions,
    Step,
    StepDone,
    StepOutcome,
    StepProgress,
    StepReady,
    StepStarted,
    Topics,
    TopicSpec,
    UndecodableMessage,
    attempt_id,
    message_id,
    run_key,
)
from starlings.service import KafkaPorts
from starlings_coordinator.service import Coordinator
from starlings_coordinator.settings import CoordinatorSettings

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AGENT = "math"


def step(name: str, *depends_on: str, **more: Any) -> Step:
    return Step(**{"id": name, "agent": AGENT, "task": f"do {name}", **more}, depends_on=depends_on)


def work_id(run_id: str, step_id: str, attempt: int = 1) -> str:
    return attempt_id(run_id, step_id, attempt, StepReady.NAME)


@dataclass(frozen=True)
class Seen:
    """A record as it lies on Kafka, read where it can be."""

    record: ConsumerRecord
    received: Received | None

    @property
    def id(self) -> str:
        return self.received.envelope.id if self.received else ""

    @property
    def message(self) -> Any:
        return self.received.message if self.received else None

    @property
    def headers(self) -> dict[str, bytes]:
        return dict(self.record.headers)


@dataclass(eq=False)
class Actor:
    """A coordinator at work in this process."""

    coordinator: Coordinator
    publisher: Publisher
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    life: asyncio.Task[None] | None = None

    async def ready(self, partitions: int = 1) -> Actor:
        await wait_until(
            lambda: (
                len(self.coordinator.partitions) == partitions
                and self.coordinator.not_ready() is None
            ),
            timeout_s=30,
            message=f"{partitions} partitions: {self.coordinator.not_ready()}",
        )
        return self

    async def leave(self) -> None:
        """Stop as after SIGTERM."""
        self.stop.set()
        if self.life is not None:
            await self.life
        await self.publisher.stop()

    async def crash(self) -> None:
        """End without a commit, and without anything more being sent."""
        for task in list(self.coordinator.outbox._tasks):
            task.cancel()
        for partition in self.coordinator.partitions.values():
            partition.close()
        self.coordinator.partitions.clear()
        if self.life is not None:
            self.life.cancel()
            await asyncio.gather(self.life, return_exceptions=True)
        await self.publisher.stop()


@dataclass(eq=False)
class Stage:
    """One installation under a prefix of its own."""

    connection: Connection
    topics: Topics
    blobs: BlobStore
    folder: Path
    partitions: int
    publisher: Publisher = field(init=False)
    seen: list[Seen] = field(default_factory=list)
    actors: list[Actor] = field(default_factory=list)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    async def open(self, agents: Iterable[str]) -> None:
        work = [TopicSpec(self.topics.steps(agent), 1) for agent in agents]
        core = self.topics.core_specs(partitions=self.partitions)
        await ensure_topics(self.connection, [*core, *work], replication=1)
        self.publisher = Publisher(self.connection, self.codec("test"))
        await self.publisher.start()
        names = [spec.name for spec in (*core, *work)]
        self._watching.append(asyncio.create_task(self._watch(names)))

    async def add_agent(self, agent: str) -> None:
        """Make an agent's topic, which only this stage's own eyes watch."""
        name = self.topics.steps(agent)
        await ensure_topics(self.connection, [TopicSpec(name, 1)], replication=1)
        self._watching.append(asyncio.create_task(self._watch([name])))

    async def runs_in_each_partition(self) -> list[str]:
        """Name a run for each partition of `events`, in their order."""
        found: dict[int, str] = {}
        for number in range(100):
            fact = StepProgress(run_id=f"run-{number}", step_id="x", attempt=1, agent=AGENT)
            where = await self.publisher.publish(
                self.topics.events, run_key(fact.run_id), fact, id=f"try/{number}", subject="x"
            )
            found.setdefault(where.partition, fact.run_id)
            if len(found) == self.partitions:
                break
        return [found[partition] for partition in range(self.partitions)]

    def codec(self, source: str) -> Codec:
        return Codec(source=source, blobs=self.blobs)

    async def _watch(self, topics: list[str]) -> None:
        codec = self.codec("watcher")
        async with self.connection.reading() as consumer:
            consumer.assign(
                [TopicPartition(t, p) for t in topics for p in await self.connection.partitions(t)]
            )
            await consumer.seek_to_beginning()
            while True:
                batch = await consumer.getmany(timeout_ms=50)
                for records in batch.values():
                    for record in records:
                        try:
                            received = await codec.decode(record)
                        except UndecodableMessage:
                            received = None
                        self.seen.append(Seen(record, received))

    async def close(self) -> None:
        for actor in self.actors:
            if actor.life is not None and not actor.life.done():
                await actor.leave()
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self.publisher.stop()

    # -- coordinators --------------------------------------------------------------------------

    def settings(self, **settings: Any) -> CoordinatorSettings:
        given = {"commit_every_s": 0.05, "session_timeout_s": 6.0, "grace_s": 5.0, **settings}
        return CoordinatorSettings(
            topic_prefix=self.topics.prefix, blobs_url=self.blobs.url, _env_file=None, **given
        )

    async def actor(
        self,
        *,
        publisher: Callable[[Connection, Codec], Publisher] = Publisher,
        blobs: BlobStore | None = None,
        **settings: Any,
    ) -> Actor:
        """Prepare a coordinator that does not run yet."""
        codec = Codec(source="coordinator", blobs=blobs or self.blobs)
        own = publisher(self.connection, codec)
        await own.start()
        ports = KafkaPorts(self.connection, codec, own, self.topics)
        actor = Actor(Coordinator(ports, settings=self.settings(**settings)), own)
        self.actors.append(actor)
        return actor

    async def start(self, **options: Any) -> Actor:
        """Start a coordinator, without waiting for its partitions."""
        actor = await self.actor(**options)
        actor.life = asyncio.create_task(actor.coordinator.run(actor.stop))
        return actor

    async def commit(self, partition: int = 0) -> OffsetAndMetadata | None:
        place = TopicPartition(self.topics.events, partition)
        found = await self.connection.committed(self.topics.coordinator_group, [place])
        return found.get(place)

    async def restore_from(self, partition: int = 0) -> int | None:
        commit = await self.commit(partition)
        return read_metadata(commit.metadata) if commit else None

    # -- what the test says --------------------------------------------------------------------

    async def tell(self, message: Message, ident: str | None = None, **more: Any) -> int:
        """Publish a fact; return its offset."""
        run_id = message.run_id
        where = await self.publisher.publish(
            self.topics.events,
            run_key(run_id),
            message,
            id=ident or message_id(run_id, message.NAME),
            subject=run_id,
            **more,
        )
        return where.offset

    async def tell_raw(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> int:
        where = await self.publisher.forward(self.topics.events, key, value, headers=list(headers))
        return where.offset

    async def plan(self, run_id: str, *steps: Step, **options: Any) -> int:
        fact = PlanCreated(
            run_id=run_id, request="please", plan=Plan(steps=steps), options=RunOptions(**options)
        )
        return await self.tell(fact, traceparent=TRACE)

    async def done(
        self,
        run_id: str,
        step_id: str,
        output: Any = None,
        *,
        attempt: int = 1,
        error: Any = None,
        agent: str = AGENT,
    ) -> int:
        outcome = StepOutcome.OK if error is None else StepOutcome.ERROR
        fact = StepDone(
            run_id=run_id,
            step_id=step_id,
            attempt=attempt,
            agent=agent,
            outcome=outcome,
            output=output,
            error=error,
        )
        return await self.tell(fact, attempt_id(run_id, step_id, attempt, StepDone.NAME))

    async def started(self, run_id: str, step_id: str, *, attempt: int = 1) -> int:
        fact = StepStarted(run_id=run_id, step_id=step_id, attempt=attempt, agent=AGENT)
        return await self.tell(fact, attempt_id(run_id, step_id, attempt, StepStarted.NAME))

    async def play(self, run_id: str, *step_ids: str) -> None:
        """Play the agent for steps, one after the other as they are announced."""
        for step_id in step_ids:
            await self.work(run_id, step_id)
            await self.done(run_id, step_id, step_id)

    # -- what the test sees --------------------------------------------------------------------

    def all(self, model: type[Message], run_id: str | None = None) -> list[Seen]:
        """List the messages of a kind, in the order in which they were seen."""
        return [
            seen
            for seen in self.seen
            if isinstance(seen.message, model) and run_id in (None, seen.message.run_id)
        ]

    def on(self, topic: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.record.topic == topic]

    def works(self, run_id: str) -> list[str]:
        """List the ids of the work that was announced, once each."""
        return list(dict.fromkeys(seen.id for seen in self.all(StepReady, run_id)))

    async def see(
        self, find: Callable[[], Any | Awaitable[Any]], message: str, *, timeout_s: float = 20
    ) -> Any:
        return await wait_until(find, timeout_s=timeout_s, message=message)

    async def work(self, run_id: str, step_id: str, *, attempt: int = 1) -> Seen:
        """Wait for a step's work."""
        ident = work_id(run_id, step_id, attempt)

        def find() -> Seen | None:
            return next((s for s in self.all(StepReady, run_id) if s.id == ident), None)

        return await self.see(find, f"{ident} announced; there is {self.works(run_id)}")

    async def end(self, run_id: str, *, timeout_s: float = 20) -> RunDone:
        found = await self.see(
            lambda: self.all(RunDone, run_id), f"{run_id} ended", timeout_s=timeout_s
        )
        return found[0].message

    async def dead(self, count: int = 1) -> list[Seen]:
        letters = self.topics.dead_letters
        return await self.see(
            lambda: len(self.on(letters)) >= count and self.on(letters), f"{count} dead letters"
        )


Open = Callable[..., Awaitable[Stage]]


async def new_stage(bootstrap: str, topics: Topics, folder: Path, partitions: int = 1) -> Stage:
    connection = Connection(KafkaSettings(bootstrap=bootstrap, _env_file=None), client_id="test")
    blobs = BlobStore((folder / "blobs").as_uri())
    stage = Stage(connection, topics, blobs, folder, partitions)
    await stage.open((AGENT,))
    return stage


@pytest.fixture
async def open_stage(kafka, topics, tmp_path) -> AsyncIterator[Open]:
    """Open a stage with some partitions of `events` on the session's broker."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(partitions: int = 1) -> Stage:
            stage = await new_stage(kafka.bootstrap, topics, tmp_path, partitions)
            stack.push_async_callback(stage.close)
            return stage

        yield open_one


@pytest.fixture
async def stage(open_stage) -> Stage:
    return await open_stage()
