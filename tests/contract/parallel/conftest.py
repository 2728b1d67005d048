"""A bench for the parallel consumer: topics, records, members, and what they did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec, Received
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.offsets import Done, ForeignMetadata, decode
from starlings.kafka.parallel import ConsumerSettings, ParallelConsumer, Retry
from starlings.kafka.readback import committed
from starlings.messages import CancelRequested, Topics

BAD = b"not json"


Work = Callable[[int, Received], Awaitable[None]]


async def nothing(_number: int, _received: Received) -> None:
    """Do no work."""


@dataclass(eq=False)
class Member:
    """A parallel consumer at work, and the numbers of the records that its handler met."""

    work: Work
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    started: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    poisoned: list[tuple[int, Exception]] = field(default_factory=list)
    undecodable: list[tuple[int, Exception]] = field(default_factory=list)
    consumer: ParallelConsumer = field(init=False)
    life: asyncio.Task[None] | None = None

    async def handle(self, received: Received) -> None:
        number = int(received.message.run_id[1:])
        self.started.append(number)
        await self.work(number, received)
        self.ended.append(number)

    async def bury_poisoned(self, record: Any, error: Exception) -> None:
        self.poisoned.append((record.offset, error))

    async def bury_undecodable(self, record: Any, error: Exception) -> None:
        self.undecodable.append((record.offset, error))

    async def leave(self) -> None:
        """Ask it to stop, and wait until it has."""
        self.stop.set()
        assert self.life is not None
        await self.life

    async def ended_count(self, count: int, *, timeout_s: float = 20) -> None:
        await wait_until(
            lambda: len(self.ended) >= count,
            timeout_s=timeout_s,
            message=f"{count} records handled, {len(self.ended)} were",
        )


@dataclass(eq=False)
class Bench:
    """One topic with one group."""

    connection: Connection
    codec: Codec
    producer: AIOKafkaProducer
    topic: str
    partitions: int
    members: list[Member] = field(default_factory=list)

    @property
    def group_id(self) -> str:
        return f"{self.topic}.group"

    async def put(self, *numbers: int, partition: int = 0, ids: dict[int, str] | None = None):
        """Produce a record per number; its id is its number unless said otherwise."""
        for number in numbers:
            message_id = (ids or {}).get(number, f"m{number}")
            await self.put_raw(
                CancelRequested(run_id=f"r{number}").model_dump_json().encode(),
                partition=partition,
                message_id=message_id,
            )
        await self.producer.flush()

    async def put_raw(self, value: bytes, *, partition: int = 0, message_id: str = ""):
        headers = [("ce_id", message_id.encode())] if message_id else []
        await self.producer.send(self.topic, value, partition=partition, headers=headers)

    def member(self, work: Work = nothing, **options: Any) -> Member:
        """Start a member of the group; `work` gets each record's number."""
        grace_s = options.pop("grace_s", 5.0)
        settings = ConsumerSettings(**options.pop("settings", {}))
        member = Member(work)
        member.consumer = ParallelConsumer(
            self.connection,
            self.codec,
            topic=self.topic,
            group_id=self.group_id,
            handler=member.handle,
            on_poison=member.bury_poisoned,
            on_undecodable=member.bury_undecodable,
            default=CancelRequested,
            settings=settings,
            **{"retry": Retry(tries=3, first_s=0.01), "concurrency": 10, **options},
        )
        member.life = asyncio.create_task(member.consumer.run(member.stop, grace_s))
        self.members.append(member)
        return member

    async def ready(self, member: Member, partitions: int) -> None:
        await wait_until(
            lambda: member.consumer.ready and len(member.consumer.assigned) == partitions,
            timeout_s=20,
            message=f"{partitions} partitions open, {member.consumer.assigned}",
        )

    async def done(self, partition: int = 0) -> Done:
        """Read what the group has committed of a partition."""
        tp = TopicPartition(self.topic, partition)
        found = await committed(self.connection, self.group_id, [tp])
        try:
            return decode(*found[tp]) if tp in found else Done(0)
        except ForeignMetadata:
            return Done(found[tp].offset)

    async def wait_done(self, expected: Done, partition: int = 0) -> None:
        async def as_expected() -> bool:
            return await self.done(partition) == expected

        await wait_until(as_expected, timeout_s=15, message=f"{expected} committed")

    async def commit(self, offset: int, metadata: str, partition: int = 0) -> None:
        """Commit as another tool would."""
        consumer = self.connection.consumer(group_id=self.group_id)
        tp = TopicPartition(self.topic, partition)
        consumer.assign([tp])
        await consumer.start()
        try:
            await consumer.commit({tp: (offset, metadata)})
        finally:
            await consumer.stop()

    async def close(self) -> None:
        for member in self.members:
            member.stop.set()
        await asyncio.gather(*(member.life for member in self.members if member.life))
        await self.producer.stop()


async def new_bench(bootstrap: str, topics: Topics, folder: Path, partitions: int = 1) -> Bench:
    connection = Connection(KafkaSettings(bootstrap=bootstrap), client_id="test")
    topic = topics.steps("test")
    admin = connection.admin()
    try:
        await admin.start()
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()
    producer = connection.producer()
    await producer.start()
    codec = Codec(source="test", blobs=BlobStore(f"file://{folder}"))
    return Bench(connection, codec, producer, topic, partitions)


@pytest.fixture
async def open_bench(kafka, topics, tmp_path) -> AsyncIterator[Callable[..., Awaitable[Bench]]]:
    """Open a bench with some partitions on the session's broker."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(partitions: int = 1) -> Bench:
            bench = await new_bench(kafka.bootstrap, topics, tmp_path, partitions)
            stack.push_async_callback(bench.close)
            return bench

        yield open_one
