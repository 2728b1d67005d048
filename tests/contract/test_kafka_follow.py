"""What a follower promises: all of it, in order, from where it was told, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition
from support.sites import Site, settings_of
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.codec import Received
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.follow import Follower, Tombstone
from starlings.kafka.publisher import Publisher
from starlings.messages import CancelRequested, ConfigError, Topics

pytestmark = pytest.mark.kafka


@dataclass(eq=False)
class Watcher:
    """A follower at work, and what it delivered."""

    follower: Follower
    items: list[Received | Tombstone] = field(default_factory=list)
    life: asyncio.Task[None] | None = None

    @property
    def numbers(self) -> list[int]:
        return [int(item.message.run_id) for item in self.items if isinstance(item, Received)]

    async def watch(self) -> None:
        async with self.follower:
            async for item in self.follower:
                self.items.append(item)

    async def has(self, count: int) -> None:
        await wait_until(
            lambda: len(self.items) >= count,
            timeout_s=30,
            message=f"{count} items, there are {len(self.items)}",
        )


@pytest.fixture
async def watcher_at() -> AsyncIterator[Callable[..., Watcher]]:
    """Start watchers, which are ended after the test."""
    watchers: list[Watcher] = []

    def start(at: Site, topic: str, **options: Any) -> Watcher:
        connection = options.pop("connection", at.connection)
        watcher = Watcher(Follower(connection, at.codec, topic, **options))
        watcher.life = asyncio.create_task(watcher.watch())
        watchers.append(watcher)
        return watcher

    yield start
    for watcher in watchers:
        watcher.life.cancel()
    await asyncio.gather(*(watcher.life for watcher in watchers), return_exceptions=True)


async def put(publisher: Publisher, topic: str, *numbers: int) -> None:
    for number in numbers:
        run = str(number)
        await publisher.publish(
            topic, run.encode(), CancelRequested(run_id=run), id=f"m{run}", subject=run
        )


class TestWhereToBegin:
    async def test_from_the_start_delivers_all_and_then_what_comes(
        self, site, publisher_at, watcher_at
    ):
        topic = await site.create("control")
        publisher = await publisher_at(site)
        await put(publisher, topic, 1, 2, 3)
        watcher = watcher_at(site, topic, from_start=True)
        await asyncio.wait_for(watcher.follower.caught_up.wait(), 30)
        assert watcher.numbers == [1, 2, 3]
        await put(publisher, topic, 4)
        await watcher.has(4)
        assert watcher.numbers == [1, 2, 3, 4]

    async def test_from_the_end_delivers_only_what_comes(self, site, publisher_at, watcher_at):
        topic = await site.create("control")
        publisher = await publisher_at(site)
        await put(publisher, topic, 1, 2)
        watcher = watcher_at(site, topic)
        await asyncio.wait_for(watcher.follower.caught_up.wait(), 30)
        await put(publisher, topic, 3)
        await watcher.has(1)
        assert watcher.numbers == [3]

    async def test_offsets_begin_there_and_chosen_partitions_are_enough(
        self, plain_site, publisher_at, watcher_at
    ):
        topic = await plain_site.create("events", partitions=2)
        publisher = await publisher_at(plain_site)
        await put(publisher, topic, *range(40))
        every = watcher_at(plain_site, topic, from_start=True)
        await every.has(40)
        pairs = zip(every.numbers, every.items, strict=True)
        of_one = [number for number, item in pairs if item.origin.partition == 1]
        watcher = watcher_at(plain_site, topic, offsets={1: 3}, partitions=[1])
        await watcher.has(len(of_one) - 3)
        assert watcher.numbers == of_one[3:]

    async def test_a_time_begins_at_the_first_record_that_is_not_older(
        self, plain_site, publisher_at, watcher_at
    ):
        topic = await plain_site.create("events")
        publisher = await publisher_at(plain_site)
        await put(publisher, topic, 1, 2, 3)
        every = watcher_at(plain_site, topic, from_start=True)
        await every.has(3)
        since = every.items[1].timestamp_ms
        pairs = zip(every.numbers, every.items, strict=True)
        expected = [number for number, item in pairs if item.timestamp_ms >= since]
        watcher = watcher_at(plain_site, topic, since_ms=since)
        await watcher.has(len(expected))
        assert watcher.numbers == expected
        late = watcher_at(plain_site, topic, since_ms=since + 3_600_000)
        await asyncio.wait_for(late.follower.caught_up.wait(), 30)
        assert late.items == []

    async def test_to_the_end_is_over_when_all_is_read(self, site, publisher_at):
        topic = await site.create("events", partitions=3)
        await put(await publisher_at(site), topic, *range(20))
        follower = Follower(site.connection, site.codec, topic, from_start=True, to_end=True)
        assert sorted([int(item.message.run_id) async for item in follower]) == list(range(20))

    async def test_an_empty_topic_is_caught_up_at_once(self, site):
        topic = await site.create("empty", partitions=2)
        follower = Follower(site.connection, site.codec, topic, from_start=True, to_end=True)
        assert [item async for item in follower] == []
        assert follower.caught_up.is_set()

    async def test_what_retention_has_taken_is_passed_over(
        self, plain_site, publisher_at, watcher_at
    ):
        topic = await plain_site.create("events")
        await put(await publisher_at(plain_site), topic, *range(10))
        async with plain_site.connection.administering() as admin:
            place = TopicPartition(topic, 0)
            await admin.delete_records({place: RecordsToDelete(before_offset=6)})
        watcher = watcher_at(plain_site, topic, offsets={0: 2})
        await watcher.has(4)
        assert watcher.numbers == [6, 7, 8, 9]


class TestWhatItMeets:
    async def test_what_cannot_be_read_is_skipped_with_a_warning_that_says_where(
        self, plain_site, publisher_at
    ):
        topic = await plain_site.create("events")
        publisher = await publisher_at(plain_site)
        await put(publisher, topic, 1)
        await publisher.forward(
            topic, b"k", b"\xff", headers=[("ce_type", b"starlings.run_done.v1")]
        )
        await publisher.forward(topic, b"k", b"{}", headers=[("ce_type", b"com.example.thing")])
        await put(publisher, topic, 2)
        follower = Follower(
            plain_site.connection, plain_site.codec, topic, from_start=True, to_end=True
        )
        with structlog.testing.capture_logs() as lines:
            numbers = [int(item.message.run_id) async for item in follower]
        assert numbers == [1, 2]
        (line,) = [line for line in lines if line["log_level"] == "warning"]
        assert line["error"] == f"{topic}/0/1: the value is not UTF-8 (byte 0)"

    async def test_tombstones_are_delivered_to_those_who_ask(self, plain_site, publisher_at):
        topic = await plain_site.create("agents")
        publisher = await publisher_at(plain_site)
        await put(publisher, topic, 1)
        await publisher.tombstone(topic, b"1")
        for asked, expected in ((False, [Received]), (True, [Received, Tombstone])):
            follower = Follower(
                plain_site.connection,
                plain_site.codec,
                topic,
                from_start=True,
                to_end=True,
                tombstones=asked,
            )
            items = [item async for item in follower]
            assert [type(item) for item in items] == expected
        assert (items[1].key, items[1].origin.offset) == ("1", 1)

    async def test_records_that_are_not_wanted_are_not_decoded(self, plain_site, publisher_at):
        topic = await plain_site.create("events")
        publisher = await publisher_at(plain_site)
        await publisher.forward(topic, b"other", b"\xff", headers=[])
        await put(publisher, topic, 7)
        follower = Follower(
            plain_site.connection,
            plain_site.codec,
            topic,
            from_start=True,
            to_end=True,
            where=lambda record: record.key == b"7",
        )
        with structlog.testing.capture_logs() as lines:
            assert [item.key async for item in follower] == [b"7"]
        assert lines == []

    async def test_a_missing_topic_is_an_error_with_the_command(self, site):
        follower = Follower(site.connection, site.codec, f"{site.topics.prefix}no", to_end=True)
        with pytest.raises(ConfigError, match="run `starlings topics ensure`"):
            await anext(aiter(follower))
        await follower.close()

    async def test_a_topic_that_may_not_be_seen_is_an_error_with_the_acl(self, secured_kafka):
        app = Site(
            settings_of(secured_kafka.environment("app")), Topics("other."), BlobStore("memory:///")
        )
        follower = Follower(app.connection, app.codec, app.topics.events, partitions=[0])
        with pytest.raises(
            ConfigError, match=r"may not see other\.events: it needs the ACL DESCRIBE"
        ):
            await asyncio.wait_for(anext(aiter(follower)), 30)
        await follower.close()


class TestStaying:
    async def test_leaving_the_loop_early_leaves_nothing_open(self, plain_site, publisher_at):
        topic = await plain_site.create("events")
        await put(await publisher_at(plain_site), topic, 1, 2, 3)
        follower = Follower(plain_site.connection, plain_site.codec, topic, from_start=True)
        async with follower:
            async for item in follower:
                assert item.message.run_id == "1"
                break
        async with follower:  # and again: it goes on where it was
            async for item in follower:
                assert item.message.run_id == "2"
                break

    async def test_a_broker_that_dies_and_comes_back_loses_and_repeats_nothing(
        self, own_broker, watcher_at
    ):
        site = Site(
            KafkaSettings(bootstrap=own_broker.bootstrap), Topics("t."), BlobStore("memory:///")
        )
        topic = await site.create("events")
        async with started(site) as publisher:
            await put(publisher, topic, *range(5))
            watcher = watcher_at(site, topic, from_start=True)
            await watcher.has(5)
            await asyncio.to_thread(own_broker.kill)
            await asyncio.to_thread(own_broker.start)
            await put(publisher, topic, *range(5, 10))
            await watcher.has(10)
        assert watcher.numbers == list(range(10))

    async def test_silence_is_looked_into_and_a_deaf_client_is_replaced(
        self, plain_site, publisher_at, watcher_at
    ):
        topic = await plain_site.create("events")
        publisher = await publisher_at(plain_site)
        clients = Clients(plain_site.settings)
        now = 0.0
        watcher = watcher_at(
            plain_site,
            topic,
            connection=clients,
            from_start=True,
            stall_s=60.0,
            clock=lambda: now,
        )
        await put(publisher, topic, 1)
        await watcher.has(1)
        clients.consumers[0].pause(TopicPartition(topic, 0))
        await put(publisher, topic, 2)
        with structlog.testing.capture_logs() as lines:
            now = 61.0
            await watcher.has(2)
        assert any("nothing arrives of" in line.get("error", "") for line in lines)

    async def test_a_large_value_that_cannot_be_fetched_for_now_is_tried_again(
        self, plain_site, publisher_at
    ):
        topic = await plain_site.create("events")
        publisher = await publisher_at(plain_site)
        large = CancelRequested(run_id="1", reason="x" * 300_000)
        await publisher.publish(topic, b"1", large, id="m", subject="1")
        follower = Follower(plain_site.connection, plain_site.codec, topic, from_start=True)
        async with follower:
            with unreachable(plain_site), structlog.testing.capture_logs() as lines:
                reading = asyncio.create_task(anext(aiter(follower)))
                await wait_until(lambda: lines, timeout_s=20, message="a line about the store")
            received = await asyncio.wait_for(reading, 30)
        assert "cannot be read" in lines[0]["error"]
        assert received.message == large


class Clients(Connection):
    """Remembers the consumers that it makes."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings)
        self.consumers: list[AIOKafkaConsumer] = []

    def consumer(self, *topics, group_id=None, **overrides):
        self.consumers.append(super().consumer(*topics, group_id=group_id, **overrides))
        return self.consumers[-1]


@contextlib.contextmanager
def unreachable(site: Site):
    """Let the blobs of a site be there and yet not readable: links that lead to themselves."""
    folder = Path(site.blobs.url.removeprefix("file://"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.rename(path.with_suffix(".away"))
        path.symlink_to(path)
    try:
        yield
    finally:
        for path in files:
            path.unlink()
            path.with_suffix(".away").rename(path)


@contextlib.asynccontextmanager
async def started(site: Site) -> AsyncIterator[Publisher]:
    publisher = Publisher(site.connection, site.codec)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop()
