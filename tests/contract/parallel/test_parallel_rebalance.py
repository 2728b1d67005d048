"""Members come and go: kept work goes on, lost work stops, what is finished stays finished."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Cancellation, Seat, cancellation
from starlings.messages import Origin

pytestmark = pytest.mark.kafka


def partitions_of(member) -> list[int]:
    return sorted(tp.partition for tp in member.consumer.assigned)


async def test_a_second_member_cancels_only_what_is_really_lost(open_bench):
    bench = await open_bench(4)
    gate = asyncio.Event()
    reasons = {}

    async def work(number, _received):
        try:
            await gate.wait()
        except asyncio.CancelledError as error:
            reasons[number] = (error.args[0], cancellation())
            raise

    for number in range(4):
        await bench.put(number, partition=number)
    first = bench.member(work)
    await wait_until(lambda: first.consumer.running == 4, timeout_s=20, message="all at work")
    second = bench.member(work)
    await bench.ready(second, 2)
    await wait_until(lambda: second.consumer.running == 2, message="the lost ones run elsewhere")
    lost, kept = partitions_of(second), partitions_of(first)
    assert sorted(lost + kept) == [0, 1, 2, 3]
    assert reasons == dict.fromkeys(lost, (Cancellation.LOST, Cancellation.LOST))
    gate.set()
    for number in range(4):
        await bench.wait_done(Done(1), partition=number)
    assert sorted(first.started) == [0, 1, 2, 3]  # nothing that went on was started again
    assert sorted(first.ended) == kept
    assert sorted(second.ended) == lost


async def test_what_finished_before_a_rebalance_is_not_run_by_the_next_owner(open_bench):
    bench = await open_bench(4)
    gate = asyncio.Event()

    async def work(number, _received):
        if number % 100 == 0:
            await gate.wait()

    for partition in range(4):
        await bench.put(*range(partition * 100, partition * 100 + 50), partition=partition)
    never = {"commit_interval_s": 3_600}  # so only the revoke can have committed
    first = bench.member(work, settings=never)
    await first.ended_count(196)
    second = bench.member(work)
    await bench.ready(second, 2)
    await bench.ready(first, 2)
    gate.set()
    await second.ended_count(2)
    await first.ended_count(198)
    await asyncio.gather(first.leave(), second.leave())
    assert sorted(first.ended + second.ended) == [p * 100 + n for p in range(4) for n in range(50)]


async def test_a_member_that_leaves_hands_over_at_once(open_bench):
    bench = await open_bench(2)
    first = bench.member(settings={"seat": Seat(session_timeout_ms=30_000)})
    await bench.ready(first, 2)
    second = bench.member()
    await bench.ready(second, 1)
    await first.leave()
    await wait_until(lambda: len(second.consumer.assigned) == 2, message="both partitions")
    await bench.put(1, partition=0)
    await bench.put(2, partition=1)
    await second.ended_count(2)


async def test_under_load_with_members_coming_and_going_nothing_is_missed(open_bench):
    bench = await open_bench(4)

    async def work(_number, _received):
        await asyncio.sleep(0.002)

    members = [bench.member(work, concurrency=5)]
    for number in range(2_000):
        await bench.put_raw(
            b'{"run_id": "r%d"}' % number, partition=number % 4, message_id=f"m{number}"
        )
        if number % 500 == 499:
            await bench.producer.flush()
            members.append(bench.member(work, concurrency=5))
            await wait_until(lambda: members[-1].consumer.ready, timeout_s=20, message="joined")
            if len(members) == 4:
                await members.pop(0).leave()
    for partition in range(4):
        await bench.wait_done(Done(500), partition=partition)
    ended = [number for member in bench.members for number in member.ended]
    assert set(ended) == set(range(2_000))
    # Only what ended between a revoke and the next assignment may have run twice.
    assert len(ended) - 2_000 < 5 * sum(m.consumer.counters.rebalances for m in bench.members)


async def test_only_what_others_may_have_begun_is_inherited(open_bench):
    bench = await open_bench(4)
    for partition in range(4):
        await bench.put(partition, partition=partition)
    first = bench.member()
    await bench.ready(first, 4)
    await first.ended_count(4)

    def inherited(member) -> set[tuple[int, int]]:
        found = ((tp.partition, offset) for tp in member.consumer.assigned for offset in (0, 1, 2))
        return {at for at in found if member.consumer.inheritance(Origin(bench.topic, *at))}

    assert inherited(first) == {(partition, 0) for partition in range(4)}
    for partition in range(4):
        await bench.put(10 + partition, partition=partition)
        await bench.wait_done(Done(2), partition=partition)
    second = bench.member()
    await bench.ready(second, 2)
    await bench.ready(first, 2)
    assert inherited(second) == {(p, n) for p in partitions_of(second) for n in (0, 1)}
    some = second.consumer.inheritance(Origin(bench.topic, partitions_of(second)[0], 1))
    assert some is not None
    assert abs(time.time() - some.since_ms / 1_000) < 60
    kept, lost = partitions_of(first), partitions_of(second)
    assert inherited(first) == {(p, 0) for p in kept}  # what stayed ours is nobody's heritage
    await second.leave()
    await bench.ready(first, 4)
    expected = {(p, 0) for p in kept} | {(p, n) for p in lost for n in (0, 1)}
    await wait_until(lambda: inherited(first) == expected, message=f"{expected} inherited")
