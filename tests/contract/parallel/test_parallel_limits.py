"""Limits, strange commits and strange logs."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Limits

pytestmark = pytest.mark.kafka


async def test_a_full_done_set_stops_its_partition_until_it_has_shrunk_to_half(open_bench):
    bench = await open_bench(2)
    gate = asyncio.Event()

    async def work(number, _received):
        if number % 2 == 0 and number < 1_000:
            await gate.wait()

    await bench.put(*range(400))
    member = bench.member(work, concurrency=100, settings={"limits": Limits(metadata=60)})
    consumer = member.consumer
    await wait_until(
        lambda: (
            consumer.crowded == 1
            and consumer.running == len([n for n in member.started if n % 2 == 0])
        ),
        message="the partition rests",
    )
    assert consumer.running < 100, "there would be room for more"
    assert consumer.queued > 0
    started = len(member.started)
    await bench.put(1_001, partition=1)
    await wait_until(lambda: 1_001 in member.ended, message="the other partition goes on")
    assert len(member.started) == started + 1
    gate.set()
    await member.ended_count(401)
    await bench.wait_done(Done(400))
    assert consumer.crowded == 0


async def test_a_full_queue_takes_no_more_and_loses_nothing(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    for number in range(30):
        await bench.put(*range(number * 100, number * 100 + 100))
    member = bench.member(work, settings={"limits": Limits(queue=50)})
    await wait_until(lambda: member.consumer.queued >= 50, message="a full queue")
    gate.set()
    await bench.wait_done(Done(3_000))
    assert sorted(member.ended) == list(range(3_000))
    assert len(member.ended) == 3_000


async def test_handlers_that_take_longer_than_the_poll_interval_keep_their_partitions(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    await bench.put(*range(50))
    full = {"limits": Limits(queue=5), "max_poll_interval_ms": 1_000}
    member = bench.member(work, concurrency=1, settings=full)
    consumer = member.consumer
    await wait_until(lambda: consumer.running == 1, timeout_s=20, message="at work")
    begun = consumer.last_loop_monotonic
    await wait_until(lambda: consumer.last_loop_monotonic > begun + 3, message="3 s of polling")
    gate.set()
    await bench.wait_done(Done(50))
    assert sorted(member.started) == list(range(50))
    assert consumer.counters.rebalances == 0


@pytest.mark.parametrize("metadata", ["written by another tool", "s1:3:%%%", "s1:2:AQE="])
async def test_metadata_that_are_not_ours_mean_an_empty_done_set(open_bench, metadata):
    bench = await open_bench()
    await bench.put(*range(6))
    await bench.commit(3, metadata)
    member = bench.member()
    await member.ended_count(3)
    await bench.wait_done(Done(6))
    assert sorted(member.ended) == [3, 4, 5]


async def test_records_deleted_before_they_were_handled_are_skipped(open_bench):
    bench = await open_bench()
    await bench.put(*range(10))
    await bench.commit(2, "")
    admin = bench.connection.admin()
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(bench.topic, 0): RecordsToDelete(5)})
    finally:
        await admin.close()
    member = bench.member()
    await bench.wait_done(Done(10))
    assert sorted(member.ended) == [5, 6, 7, 8, 9]


async def test_a_commit_beyond_the_end_of_the_log_starts_at_its_beginning(open_bench):
    bench = await open_bench()
    await bench.put(0, 1)
    await bench.commit(1_000, "")
    member = bench.member()
    await bench.wait_done(Done(2))
    assert sorted(member.ended) == [0, 1]


async def test_transaction_markers_hold_back_nothing_and_leave_no_lag(open_bench):
    bench = await open_bench()
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.producer.client.hosts[0][0]
        + f":{bench.producer.client.hosts[0][1]}",
        transactional_id=bench.topic,
    )
    await producer.start()
    try:
        for number in range(3):
            async with producer.transaction():
                await producer.send_and_wait(
                    bench.topic, b'{"run_id": "r%d"}' % number, partition=0
                )
    finally:
        await producer.stop()
    member = bench.member(settings={"stall_s": 0.4})
    await bench.wait_done(Done(6))
    assert sorted(member.ended) == [0, 1, 2]
    assert member.consumer.counters.rebuilt == 0
