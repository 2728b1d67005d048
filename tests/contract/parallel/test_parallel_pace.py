"""Starting fewer records for a while, and handing one back that is to be done later."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import HandedBack

pytestmark = pytest.mark.kafka


async def test_under_a_limit_no_more_are_at_work_and_none_is_lost(open_bench):
    bench = await open_bench()
    most = 0
    member = None

    async def work(_number, _received):
        nonlocal most
        most = max(most, member.consumer.running)
        await asyncio.sleep(0.01)

    member = bench.member(work)
    member.consumer.limit(3)
    await bench.put(*range(40))
    await bench.wait_done(Done(40))
    assert most == 3
    assert sorted(member.started) == list(range(40))


async def test_under_a_limit_of_none_at_all_the_running_go_on_and_the_others_wait(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(_number, _received):
        await gate.wait()

    member = bench.member(work, concurrency=2)
    await bench.put(*range(5))
    await wait_until(lambda: len(member.started) == 2, timeout_s=15, message="two at work")
    member.consumer.limit(0)
    gate.set()
    await member.ended_count(2)
    await bench.wait_done(Done(2))
    assert len(member.started) == 2
    member.consumer.limit(None)
    await bench.wait_done(Done(5))


async def test_a_record_that_is_handed_back_runs_again_and_counts_as_no_failure(open_bench):
    bench = await open_bench()
    member = None

    async def work(number, _received):
        if number == 1 and member.started.count(1) == 1:
            member.consumer.limit(0)
            raise HandedBack("not now")

    member = bench.member(work)
    await bench.put(0, 1, 2)
    await wait_until(lambda: member.consumer.counters.handed_back, timeout_s=15, message="back")
    member.consumer.limit(None)
    await bench.wait_done(Done(3))
    assert sorted(member.started) == [0, 1, 1, 2]
    assert member.poisoned == []
    assert member.consumer.counters.retried == 0


async def test_a_record_that_was_handed_back_goes_to_the_next_owner(open_bench):
    bench = await open_bench()
    first = None

    async def work(_number, _received):
        first.consumer.limit(0)
        raise HandedBack("not now")

    first = bench.member(work)
    await bench.put(7)
    await wait_until(lambda: first.consumer.counters.handed_back, timeout_s=15, message="back")
    await first.leave()
    second = bench.member()
    await bench.wait_done(Done(1))
    assert second.started == [7]


async def test_who_rests_leaves_its_partitions_to_the_others_and_comes_back(open_bench):
    bench = await open_bench(2)
    first = bench.member()
    await bench.ready(first, 2)
    first.consumer.rest(resting=True)
    await wait_until(lambda: not first.consumer.assigned, timeout_s=15, message="it has left")
    assert first.consumer.ready
    second = bench.member()
    await bench.ready(second, 2)
    await bench.put(1, partition=0)
    await bench.put(2, partition=1)
    await second.ended_count(2)
    first.consumer.rest(resting=False)
    await bench.ready(first, 1)
    await bench.ready(second, 1)
    await bench.put(3, partition=0)
    await bench.put(4, partition=1)
    await wait_until(
        lambda: sorted(first.started + second.started) == [1, 2, 3, 4],
        timeout_s=15,
        message="all are done once",
    )


async def test_who_rests_can_be_stopped(open_bench):
    bench = await open_bench()
    member = bench.member()
    await bench.ready(member, 1)
    member.consumer.rest(resting=True)
    await wait_until(lambda: not member.consumer.assigned, timeout_s=15, message="it has left")
    await member.leave()
    assert member.consumer.counters.rebuilt == 0
