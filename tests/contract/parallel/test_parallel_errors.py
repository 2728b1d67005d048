"""Records that cannot be handled, handlers that fail, and cancels that were asked for."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaTimeoutError
from support.waiting import wait_until

from starlings.kafka.offsets import Done
from starlings.kafka.parallel import Cancellation, Refused, Retry, Seat, cancellation
from starlings.messages import ConfigError, Origin, UndecodableMessage

pytestmark = pytest.mark.kafka


async def test_a_handler_that_keeps_failing_is_tried_a_few_times_then_its_record_is_buried(
    open_bench,
):
    bench = await open_bench()

    async def work(number, _received):
        if number == 1:
            raise ValueError("a bug")

    await bench.put(0, 1, 2)
    member = bench.member(work, retry=Retry(tries=3, first_s=0.01))
    await bench.wait_done(Done(3))
    assert member.started.count(1) == 3
    [(offset, error)] = member.poisoned
    assert (offset, repr(error)) == (1, "ValueError('a bug')")
    assert sorted(member.ended) == [0, 2]


async def test_a_record_that_its_handler_refuses_is_buried_without_another_try(open_bench):
    bench = await open_bench()

    async def work(number, _received):
        if number == 1:
            raise Refused("not for us")

    await bench.put(0, 1, 2)
    member = bench.member(work, retry=Retry(tries=3, first_s=60.0))
    await bench.wait_done(Done(3))
    assert member.started.count(1) == 1
    [(offset, error)] = member.poisoned
    assert (offset, str(error)) == (1, "not for us")


async def test_a_handler_that_fails_once_is_tried_again(open_bench):
    bench = await open_bench()
    failures = [ValueError("once")]

    async def work(_number, _received):
        if failures:
            raise failures.pop()

    await bench.put(0)
    member = bench.member(work)
    await bench.wait_done(Done(1))
    assert member.ended == [0]
    assert member.consumer.counters.retried == 1
    assert not member.poisoned


async def test_trouble_with_the_broker_never_buries_a_record(open_bench):
    bench = await open_bench()
    failures = [KafkaTimeoutError() for _ in range(10)]

    async def work(_number, _received):
        if failures:
            raise failures.pop()

    await bench.put(0)
    member = bench.member(work, retry=Retry(tries=2, first_s=0.001))
    await bench.wait_done(Done(1))
    assert member.ended == [0]
    assert not member.poisoned


async def test_an_undecodable_record_is_buried_untouched_and_the_partition_goes_on(open_bench):
    bench = await open_bench()
    await bench.put_raw(b"\xff\xfe no json")
    await bench.put(1)
    member = bench.member()
    await bench.wait_done(Done(2))
    [(offset, error)] = member.undecodable
    assert offset == 0
    assert isinstance(error, UndecodableMessage)
    assert member.ended == [1]


async def test_a_burial_that_fails_is_insisted_on_and_holds_the_offset(open_bench):
    bench = await open_bench()
    await bench.put_raw(b"\xff\xfe no json")
    await bench.put(1)
    member = bench.member(retry=Retry(first_s=0.001))
    bury, refused = member.consumer._execution._on_undecodable, []

    async def refusing(record, error):
        if len(refused) < 3:
            refused.append(await bench.done())
            raise ConnectionError("no dead letters today")
        await bury(record, error)

    member.consumer._execution._on_undecodable = refusing
    await bench.wait_done(Done(2))
    assert len(refused) == 3
    assert all(done.low == 0 for done in refused)
    assert len(member.undecodable) == 1


async def test_a_type_nobody_knows_is_done_at_once(open_bench):
    bench = await open_bench()
    await bench.producer.send(
        bench.topic, b"{}", partition=0, headers=[("ce_type", b"starlings.unheard_of.v1")]
    )
    await bench.put(1)
    member = bench.member()
    await bench.wait_done(Done(2))
    assert member.ended == [1]
    assert member.consumer.counters.unknown == 1


async def test_a_requested_cancel_lets_the_handler_say_so_and_counts_as_done(open_bench):
    bench = await open_bench()
    said = []

    async def work(number, _received):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            await asyncio.sleep(0)  # publishing takes a while, and is not interrupted
            said.append((number, error.args[0], cancellation()))

    await bench.put(0, 1)
    member = bench.member(work)
    await wait_until(lambda: member.consumer.running == 2, message="both at work")
    assert member.consumer.cancel_where(lambda received: received.message.run_id == "r1") == 1
    await bench.wait_done(Done(0, ((1, 2),)))
    assert member.consumer.cancel(Origin(bench.topic, 0, 0))
    assert not member.consumer.cancel(Origin(bench.topic, 0, 0))
    assert not member.consumer.cancel(Origin(bench.topic, 0, 99))
    await bench.wait_done(Done(2))
    requested = (Cancellation.REQUESTED, Cancellation.REQUESTED)
    assert said == [(1, *requested), (0, *requested)]
    assert member.ended == [1, 0]


async def test_a_cancel_that_comes_while_a_failing_handler_rests_reaches_its_next_try(open_bench):
    bench = await open_bench()
    said = []

    async def work(number, _received):
        if not member.consumer.counters.cancelled:
            raise ValueError("not now")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append(cancellation())

    await bench.put(0)
    member = bench.member(work, retry=Retry(tries=100, first_s=0.2, most_s=0.2))
    await wait_until(lambda: member.consumer.counters.retried == 1, message="it rests")
    assert member.consumer.cancel(Origin(bench.topic, 0, 0))
    await bench.wait_done(Done(1))
    assert said == [Cancellation.REQUESTED]


async def test_a_cancelled_error_that_nobody_sent_is_a_failure_like_any_other(open_bench):
    bench = await open_bench()

    async def work(_number, _received):
        raise asyncio.CancelledError

    await bench.put(0)
    member = bench.member(work)
    await bench.wait_done(Done(1))
    [(_, error)] = member.poisoned
    assert "cancelled from within" in str(error)


async def test_joining_with_a_setting_that_the_broker_refuses_ends_with_its_name(open_bench):
    bench = await open_bench()
    member = bench.member(settings={"seat": Seat(session_timeout_ms=100)})
    with pytest.raises(ConfigError, match="STARLINGS_SESSION_TIMEOUT_S"):
        await asyncio.wait_for(member.life, 20)
    member.life = None
