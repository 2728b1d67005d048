"""The broker fails, the client stalls: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.messages import Topics

from .conftest import new_bench

pytestmark = pytest.mark.kafka


@pytest.mark.slow
async def test_a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    own_broker, tmp_path
):
    bench = await new_bench(own_broker.bootstrap, Topics("t."), tmp_path, 2)

    async def work(number, _received):
        await bench.producer.send_and_wait(bench.topic, b"{}", partition=1, headers=skipped)
        if number == 7:
            await gate.wait()  # at work over the whole outage

    gate, skipped = asyncio.Event(), [("ce_type", b"starlings.unheard_of.v1")]
    try:
        await bench.put(*range(3_000))
        member = bench.member(work, concurrency=5)
        await member.ended_count(500)
        own_broker.kill()
        await asyncio.to_thread(own_broker.start)
        gate.set()
        await member.ended_count(3_000, timeout_s=60)
        await bench.wait_done(Done(3_000))
        assert sorted(member.ended) == list(range(3_000))
        assert not member.poisoned
    finally:
        await bench.close()


@pytest.mark.slow
async def test_an_outage_beyond_all_patience_is_survived_by_building_anew(own_broker, tmp_path):
    bench = await new_bench(own_broker.bootstrap, Topics("t."), tmp_path)
    gate = asyncio.Event()

    async def work(number, _received):
        if number == 7:
            await gate.wait()

    hasty = {"stall_s": 0.5, "rebalance_timeout_ms": 1_000, "rebuild_pause_s": 0.1}
    try:
        await bench.put(*range(100))
        member = bench.member(work, settings=hasty)
        await member.ended_count(99)
        own_broker.kill()
        # The session is over by the time that nobody answers any more.
        member.consumer._membership._joining_since = 0
        await wait_until(
            lambda: member.consumer.counters.rebuilt >= 2, timeout_s=30, message="built anew"
        )
        await asyncio.to_thread(own_broker.start)
        await bench.put(*range(100, 200))
        await member.ended_count(199, timeout_s=60)
        gate.set()
        await bench.wait_done(Done(200))
        assert sorted(member.started) == sorted(member.ended) == list(range(200))
    finally:
        await bench.close()


@pytest.mark.slow
async def test_stopping_while_the_broker_is_away_ends_in_time(own_broker, tmp_path):
    bench = await new_bench(own_broker.bootstrap, Topics("t."), tmp_path)
    try:
        await bench.put(0)
        member = bench.member()
        await member.ended_count(1)
        own_broker.kill()
        await asyncio.wait_for(member.leave(), 20)
    finally:
        await asyncio.to_thread(own_broker.start)
        await bench.close()


async def test_a_consumer_that_stalls_is_built_anew_under_its_running_handlers(open_bench):
    bench = await open_bench()
    gate = asyncio.Event()

    async def work(number, _received):
        if number == 0:
            await gate.wait()

    await bench.put(0)
    member = bench.member(work, settings={"stall_s": 0.6, "rebuild_pause_s": 0.05})
    await wait_until(lambda: member.consumer.running == 1, timeout_s=20, message="at work")
    # As some stalls of the client do: its fetching has ended, without an error for anybody.
    fetcher = member.consumer._membership._consumer._fetcher
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):
        task.cancel()
    await bench.put(1)
    await member.ended_count(1)
    assert member.consumer.counters.rebuilt == 1
    gate.set()
    await bench.wait_done(Done(2))
    assert (member.started, sorted(member.ended)) == ([0, 1], [0, 1])


async def test_an_idle_consumer_is_not_taken_for_a_stalled_one(open_bench):
    bench = await open_bench(2)
    member = bench.member(settings={"stall_s": 0.2})
    await bench.ready(member, 2)
    looks = []
    suspects = member.consumer._membership._watchdog.suspects

    def look(wanted, now):
        looks.append(suspects(wanted, now))
        return looks[-1]

    member.consumer._membership._watchdog.suspects = look
    await wait_until(lambda: sum(map(bool, looks)) >= 2, message="two suspicions were checked")
    assert member.consumer.counters.rebuilt == 0
    await bench.put(1)
    await member.ended_count(1)
