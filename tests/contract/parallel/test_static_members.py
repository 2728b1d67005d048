"""Static members: a seat is kept over a restart, given back at a stop, and never fought for."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import CommitFailedError
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Seat
from starlings.kafka.static_member import keep_seat
from starlings.messages import ConfigError

pytestmark = pytest.mark.kafka

LONG_MS = 60_000  # nobody's session ends within a test, so whatever happens has another reason


def seat(instance: str, **options) -> dict[str, Seat]:
    return {"seat": Seat(session_timeout_ms=LONG_MS, instance=instance, **options)}


def partitions_of(member) -> list[int]:
    return sorted(tp.partition for tp in member.consumer.assigned)


async def two_members(bench):
    first = bench.member(settings=seat("one"))
    await bench.ready(first, 4)
    second = bench.member(settings=seat("two"))
    await bench.ready(second, 2)
    await bench.ready(first, 2)
    return first, second


async def kill(member) -> None:
    """End a member as a kill would, as far as its group sees: its connections are gone."""
    keep_seat(member.consumer._membership._consumer)
    await member.leave()


async def instances(bench) -> dict[str, str]:
    """Ask Kafka who sits in the group: instance ids, and their member ids."""
    async with bench.connection.administering() as admin:
        (found,) = await admin.describe_consumer_groups([bench.group_id])
    ((_, _, _, _, _, members, *_),) = found.groups
    return {member[0].rsplit("-", 5)[0]: member[0] for member in members}


async def test_a_killed_member_is_back_in_its_seat_without_a_rebalance_of_the_others(open_bench):
    bench = await open_bench(4)
    first, second = await two_members(bench)
    had, kept = partitions_of(second), partitions_of(first)
    before = first.consumer._membership._generation
    rebalances = first.consumer.counters.rebalances
    await kill(second)
    third = bench.member(settings=seat("two"))
    await bench.ready(third, 2)
    for partition in range(4):
        await bench.put(partition, partition=partition)
    await third.ended_count(2)
    await first.ended_count(2)
    assert partitions_of(third) == had
    assert partitions_of(first) == kept
    assert third.consumer._membership._generation == before
    assert first.consumer._membership._generation == before
    assert first.consumer.counters.rebalances == rebalances


async def test_the_earlier_of_two_with_one_instance_id_ends_with_a_line_that_says_why(open_bench):
    bench = await open_bench(2)
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    await bench.put(1)
    first = bench.member(work, settings=seat("same"))
    await wait_until(lambda: first.consumer.running == 1, timeout_s=20, message="at work")
    second = bench.member(settings=seat("same"))
    with pytest.raises(ConfigError) as caught:
        await asyncio.wait_for(first.life, 20)
    bench.members.remove(first)
    assert str(caught.value) == (
        "STARLINGS_INSTANCE=same: two processes use one STARLINGS_INSTANCE; another one has joined"
        f" the group {bench.group_id!r} under it, so this one ends. Each process needs a name of"
        " its own, such as its pod's"
    )
    await second.ended_count(1)
    await bench.wait_done(Done(1))
    assert partitions_of(second) == [0, 1]
    assert second.consumer.counters.rebalances == 0  # nobody has taken the seat back
    assert second.consumer.counters.rebuilt == 0
    assert first.ended == []


async def test_a_stopped_member_gives_its_seat_back_at_once(open_bench):
    bench = await open_bench(4)
    first, second = await two_members(bench)
    await second.leave()
    await bench.ready(first, 4)
    await first.leave()
    third = bench.member(settings={"seat": Seat(session_timeout_ms=LONG_MS)})
    await bench.ready(third, 4)  # nobody is waited for


async def test_a_member_that_is_told_to_keep_its_seat_finds_it_after_a_stop(open_bench):
    bench = await open_bench(4)
    first, second = await two_members(bench)
    kept = partitions_of(first)
    await second.leave()
    second = bench.member(settings=seat("two", leave_on_stop=False))
    await bench.ready(second, 2)
    await bench.ready(first, 2)
    rebalances = first.consumer.counters.rebalances
    await second.leave()
    third = bench.member(settings=seat("two"))
    await bench.ready(third, 2)
    assert partitions_of(first) == kept
    assert first.consumer.counters.rebalances == rebalances


async def test_who_leaves_late_does_not_throw_out_its_successor(open_bench):
    bench = await open_bench()
    options = Seat(session_timeout_ms=LONG_MS, instance="same")
    heard_late = {"heartbeat_interval_ms": 30_000}
    early, late = (bench.connection.member(bench.group_id, options, **heard_late) for _ in range(2))
    for consumer in (early, late):
        consumer.subscribe([bench.topic])
        await consumer.start()
    await early.stop()
    tp = TopicPartition(bench.topic, 0)
    try:
        await late.commit({tp: (0, "still here")})
        assert await bench.done() == Done(0)
    finally:
        await late.stop()


async def test_a_commit_of_a_fenced_process_is_refused(open_bench):
    bench = await open_bench()
    options = Seat(session_timeout_ms=LONG_MS, instance="same")
    # It hears of nothing before it commits, as after a long pause of its process.
    zombie = bench.connection.member(bench.group_id, options, heartbeat_interval_ms=30_000)
    zombie.subscribe([bench.topic])
    await zombie.start()
    tp = TopicPartition(bench.topic, 0)
    try:
        await zombie.commit({tp: (1, "")})
        await bench.put(0, 1, 2, 3)
        successor = bench.member(settings=seat("same"))
        await successor.ended_count(3)
        await bench.wait_done(Done(4))
        with pytest.raises(CommitFailedError):
            await zombie.commit({tp: (2, "")})
        with pytest.raises(ConfigError, match="two processes use one STARLINGS_INSTANCE"):
            await zombie.getmany(timeout_ms=0)
    finally:
        await zombie.stop()
    assert await bench.done() == Done(4)
    await bench.put(5)
    await successor.ended_count(4)


async def test_a_leader_that_was_killed_still_sees_new_partitions(open_bench):
    bench = await open_bench(1)
    first = bench.member(settings=seat("one"))
    await bench.ready(first, 1)
    await kill(first)
    again = bench.member(settings=seat("one"))
    await bench.ready(again, 1)
    async with bench.connection.administering() as admin:
        await admin.create_partitions({bench.topic: NewPartitions(2)})

    async def two() -> bool:
        await again.consumer._membership._consumer._client.force_metadata_update()
        return len(again.consumer.assigned) == 2

    await wait_until(two, timeout_s=20, message="the new partition is seen")
    await bench.put(7, partition=1)
    await again.ended_count(1)


async def test_a_broker_that_knows_no_instance_ids_is_refused(open_bench, monkeypatch):
    bench = await open_bench()
    look_up = AIOKafkaConnection._do_version_lookup

    async def of_kafka_2_2(self):
        await look_up(self)
        self._versions |= {11: (0, 4), 14: (0, 2), 12: (0, 2), 8: (0, 6), 13: (0, 2)}

    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", of_kafka_2_2)
    member = bench.member(settings=seat("one"))
    with pytest.raises(ConfigError, match=r"STARLINGS_STATIC_MEMBERSHIP=true: broker .* lacks"):
        await asyncio.wait_for(member.life, 20)
    bench.members.remove(member)
