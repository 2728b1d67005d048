"""How a member ends: finish in time, hand back the rest, leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Cancellation, cancellation

pytestmark = pytest.mark.kafka


async def test_stop_lets_running_records_finish_and_starts_no_queued_ones(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    await bench.put(*range(10))
    member = bench.member(work, concurrency=3)
    await wait_until(lambda: member.consumer.queued == 7, message="three at work, seven queued")
    member.stop.set()
    await wait_until(lambda: member.consumer.queued == 0, message="the queue is handed back")
    gate.set()
    await member.leave()
    assert sorted(member.ended) == [0, 1, 2]
    assert await bench.done() == Done(3)
    after = bench.member()
    await bench.wait_done(Done(10))
    assert sorted(after.ended) == list(range(3, 10))


async def test_what_is_not_finished_within_the_grace_is_handed_back(open_bench):
    bench = await open_bench()
    reasons = []

    async def work(number, _received):
        if number == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                reasons.append(cancellation())
                raise

    await bench.put(0, 1, 2)
    member = bench.member(work, grace_s=0.1)
    await member.ended_count(2)
    await member.leave()
    assert reasons == [Cancellation.SHUTDOWN]
    assert member.consumer.counters.handed_back == 1
    assert await bench.done() == Done(1, ((2, 3),))
    after = bench.member()
    await bench.wait_done(Done(3))
    assert after.ended == [1]


async def test_a_cancelled_run_leaves_cleanly_too(open_bench):
    bench = await open_bench()

    async def work(number, _received):
        if number == 1:
            await asyncio.Event().wait()

    await bench.put(0, 1)
    member = bench.member(work)
    await member.ended_count(1)
    member.life.cancel()
    with pytest.raises(asyncio.CancelledError):
        await member.life
    member.life = None
    assert member.consumer.running == 0
    assert await bench.done() == Done(1)


async def test_stop_before_anything_is_joined_ends_at_once(open_bench):
    bench = await open_bench()
    member = bench.member()
    await asyncio.wait_for(member.leave(), 5)


async def test_what_an_observer_sees_is_true(open_bench):
    bench = await open_bench(2)
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    member = bench.member(work, concurrency=2)
    consumer = member.consumer
    assert not consumer.ready
    await bench.ready(member, 2)
    await bench.put(0, 1, 2)
    await wait_until(lambda: consumer.queued == 1, message="two at work, one queued")
    assert consumer.running == 2
    running = {str(origin): r.message.run_id for origin, r in consumer.running_records().items()}
    assert running == {f"{bench.topic}/0/0": "r0", f"{bench.topic}/0/1": "r1"}
    before = consumer.last_loop_monotonic
    await wait_until(lambda: consumer.last_loop_monotonic > before, message="the heart beats")
    gate.set()
    await member.ended_count(3)
    await wait_until(lambda: consumer.counters.commits > 0, message="it commits")
    assert consumer.counters.handled == 3
