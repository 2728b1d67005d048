"""Reading stretches of the log: just those, in order, in bounded memory, whatever happens."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from support.sites import Site
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.connection import KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.messages import CancelRequested, ConfigError, Topics
from starlings.replay import LogReader, ranges_of, reading

pytestmark = pytest.mark.kafka


async def put(publisher, topic, *numbers):
    for number in numbers:
        run = str(number)
        await publisher.publish(
            topic, run.encode(), CancelRequested(run_id=run), id=f"m{run}", subject=run
        )


async def read(at, ranges, **options):
    return [record async for record in LogReader(at.connection, ranges, **options).records()]


def numbers(records):
    return [int(record.key) for record in records]


async def test_a_range_ends_where_the_log_ended_when_it_was_asked_for(site, publisher_at):
    topic = await site.create("events", partitions=2)
    publisher = await publisher_at(site)
    await put(publisher, topic, *range(20))
    ranges = await ranges_of(site.connection, [topic])
    await put(publisher, topic, *range(20, 30))
    found = await read(site, ranges)
    assert sorted(numbers(found)) == list(range(20))
    for partition in (0, 1):
        offsets = [record.offset for record in found if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    assert not any(asked.is_cut for asked in ranges)


async def test_by_time_the_partitions_of_all_topics_are_one_sequence(
    plain_site, publisher_at, monkeypatch
):
    monkeypatch.setattr(reading, "FULL", 5)
    monkeypatch.setattr(reading, "BATCH", 3)
    topics = [await plain_site.create(name, partitions=3) for name in ("events", "requests")]
    publisher = await publisher_at(plain_site)
    for number in range(60):
        await put(publisher, topics[number % 2], number)
    found = await read(plain_site, await ranges_of(plain_site.connection, topics), by_time=True)
    times = [record.timestamp for record in found]
    assert sorted(numbers(found)) == list(range(60))
    assert times == sorted(times)


async def test_times_and_offsets_bound_a_range(plain_site, publisher_at):
    topic = await plain_site.create("events", partitions=1)
    publisher = await publisher_at(plain_site)
    for number in range(6):
        await put(publisher, topic, number)
        await asyncio.sleep(0.003)  # so that their times differ
    everything = await read(plain_site, await ranges_of(plain_site.connection, [topic]))
    since, until = everything[2].timestamp, everything[4].timestamp
    within = await ranges_of(plain_site.connection, [topic], since_ms=since, until_ms=until)
    assert numbers(await read(plain_site, within)) == [2, 3, 4]
    of_offsets = await ranges_of(plain_site.connection, [topic], first=1, end=3)
    assert numbers(await read(plain_site, of_offsets)) == [1, 2]
    none = await ranges_of(plain_site.connection, [topic], since_ms=everything[-1].timestamp + 9)
    assert await read(plain_site, none) == []


async def test_chosen_partitions_are_enough(plain_site, publisher_at):
    topic = await plain_site.create("events", partitions=2)
    await put(await publisher_at(plain_site), topic, *range(20))
    ranges = await ranges_of(plain_site.connection, [topic], partitions={topic: [1]})
    assert {record.partition for record in await read(plain_site, ranges)} == {1}


async def test_a_range_says_that_its_beginning_was_deleted(plain_site, publisher_at):
    topic = await plain_site.create("events", partitions=1)
    await put(await publisher_at(plain_site), topic, *range(10))
    place = TopicPartition(topic, 0)
    async with plain_site.connection.administering() as admin:
        await admin.delete_records({place: RecordsToDelete(before_offset=6)})
    (whole,) = await ranges_of(plain_site.connection, [topic])
    (first,) = await read(plain_site, [whole.model_copy(update={"end": 7})])
    assert (whole.is_cut, whole.first, whole.begin_ms) == (True, 6, first.timestamp)
    (later,) = await ranges_of(plain_site.connection, [topic], first=8)
    assert not later.is_cut
    asked_too_early = whole.model_copy(update={"first": 2})
    assert numbers(await read(plain_site, [asked_too_early])) == [6, 7, 8, 9]


async def test_following_goes_on_with_what_comes_also_across_a_broker_that_was_killed(own_broker):
    at = Site(KafkaSettings(bootstrap=own_broker.bootstrap), Topics("t."), BlobStore("memory:///"))
    topic = await at.create("events", partitions=1)
    publisher = Publisher(at.connection, at.codec)
    await publisher.start()
    found: list[int] = []
    take = found.append

    async def follow():
        ranges = await ranges_of(at.connection, [topic])
        async for record in LogReader(at.connection, ranges, follow=True, by_time=True).records():
            take(int(record.key))

    following = asyncio.create_task(follow())
    try:
        await put(publisher, topic, 1)
        await wait_until(lambda: found == [1], timeout_s=30, message="the first")
        await asyncio.to_thread(own_broker.kill)
        await asyncio.to_thread(own_broker.start)
        await put(publisher, topic, 2)
        await wait_until(lambda: found == [1, 2], timeout_s=60, message="the second")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await publisher.stop()


async def test_a_topic_that_is_missing_is_named(plain_site):
    with pytest.raises(ConfigError, match="is missing: run `starlings topics ensure`"):
        await ranges_of(plain_site.connection, [f"{plain_site.topics.prefix}events"])
