"""Messages that come back from the dead letters: done once each time they are sent back."""

from __future__ import annotations

import pytest

from starlings.kafka.offsets import Done
from starlings.messages import Origin, redrive_mark

pytestmark = pytest.mark.kafka

VALUE = b'{"run_id": "r1"}'


async def send_back(bench, count, *, group=None):
    """Send a message back that lay at the topic's beginning."""
    headers = [("starlings_redrive", redrive_mark(Origin(bench.topic, 0, 0), count))]
    headers += [("starlings_group", group.encode())] if group else []
    headers += [("ce_id", b"m1")]
    await bench.producer.send_and_wait(bench.topic, VALUE, partition=0, headers=headers)


async def test_a_message_sent_back_is_handled_although_its_id_is_known_and_once(open_bench):
    bench = await open_bench()
    await bench.put(1)
    await send_back(bench, 1)
    await send_back(bench, 1)
    await send_back(bench, 2)
    await bench.put(2)
    member = bench.member()
    await bench.wait_done(Done(5))
    assert sorted(member.started) == [1, 1, 1, 2]
    assert member.consumer.counters.repeats == 1


async def test_a_second_redrive_is_known_also_to_the_next_owner(open_bench):
    bench = await open_bench()
    await send_back(bench, 1)
    first = bench.member()
    await bench.wait_done(Done(1))
    await first.leave()
    await send_back(bench, 1)
    second = bench.member()
    await bench.wait_done(Done(2))
    assert (first.started, second.started) == ([1], [])


async def test_a_message_sent_back_for_one_group_is_passed_over_by_the_others(open_bench):
    bench = await open_bench()
    await send_back(bench, 1, group="another.group")
    await send_back(bench, 2, group=bench.group_id)
    member = bench.member()
    await bench.wait_done(Done(2))
    assert member.started == [1]
