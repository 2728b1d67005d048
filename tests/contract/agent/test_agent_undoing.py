"""Compensations on Kafka: beside the attempts that they undo, and beside stops."""

from __future__ import annotations

import asyncio

import pytest

from starlings import Agent, StepContext
from starlings.agents import compensate
from starlings.messages import Compensation, StepDone, StepOutcome, Timeouts, TransientError

pytestmark = pytest.mark.kafka

DONE, UNDONE = "r1/s1/1/step_done", "r1/s1/1/compensation_done/{}"


class Booker:
    """An agent whose steps and compensations wait until they may end."""

    def __init__(self):
        self.agent = Agent("booker", description="Books")
        self.agent.step(self.book)
        self.agent.compensate(self.cancel)
        self.events = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.booking = asyncio.Event()
        self.cancelling = asyncio.Event()
        self.stubborn = False

    async def book(self, ctx: StepContext) -> str:
        self.events.append("booking")
        self.booking.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            if self.stubborn:
                await self.may_end.wait()
            self.events.append("booking stopped")
            raise
        self.events.append("booked")
        return ctx.step_id

    async def cancel(self, ctx: StepContext) -> str:
        self.events.append(f"undoing: {ctx.reason}")
        self.cancelling.set()
        await self.may_end.wait()
        self.events.append("undone")
        return "cancelled"


@pytest.fixture
def booker():
    return Booker()


@pytest.fixture
async def stage(open_stage, booker):
    return await open_stage(booker.agent)


async def test_a_compensation_is_carried_out_once_for_each_try(stage, booker):
    await stage.start()
    await stage.undo(reason="the hotel is full")
    await stage.undo(reason="the hotel is full")  # a repeat, as of a second coordinator
    await stage.undo(number=2, reason="again")
    done, again = await stage.said(UNDONE.format(1)), await stage.said(UNDONE.format(2))

    assert (done.outcome, done.output, done.instance) == (StepOutcome.OK, "cancelled", "i1")
    assert (again.outcome, again.number) == (StepOutcome.OK, 2)
    assert sorted(booker.events) == [
        "undoing: again", "undoing: the hotel is full", "undone", "undone"
    ]  # fmt: skip


async def test_an_attempt_that_comes_after_its_compensation_is_refused(stage, booker):
    await stage.start()
    await stage.undo()
    await stage.said(UNDONE.format(1))
    await stage.step()
    done = await stage.said(DONE)

    assert (done.outcome, done.error.code) == (StepOutcome.CANCELLED, "compensated")
    assert "booking" not in booker.events


async def test_the_next_owner_of_the_partition_refuses_it_too(stage, booker):
    first = await stage.start()
    await stage.undo()
    await stage.said(UNDONE.format(1))
    await first.leave()
    await stage.start("i2")
    await stage.step()
    done = await stage.said(DONE)

    assert (done.error.code, done.instance) == ("compensated", "i2")
    assert "booking" not in booker.events


async def test_another_attempt_of_the_same_step_is_not_refused(stage):
    await stage.start()
    await stage.undo()
    await stage.step(attempt=2)
    assert (await stage.said("r1/s1/2/step_done")).outcome is StepOutcome.OK


async def test_an_attempt_at_work_is_stopped_before_it_is_undone(stage, booker):
    await stage.start()
    booker.may_end.clear()
    await stage.step()
    await booker.booking.wait()
    await stage.undo(reason="cancelled")
    stopped = await stage.said(DONE)
    booker.may_end.set()
    undone = await stage.said(UNDONE.format(1))

    assert stopped.outcome is StepOutcome.CANCELLED
    assert undone.outcome is StepOutcome.OK
    assert booker.events == ["booking", "booking stopped", "undoing: cancelled", "undone"]


@pytest.mark.parametrize("ends_first", [False, True])
async def test_an_attempt_says_what_undoes_it_also_when_its_stop_comes_while_kafka_is_away(
    stage, booker, monkeypatch, ends_first
):
    publish, refused = stage.publisher.publish, asyncio.Event()

    async def publish_at_the_second_try(topic, key, message, **more):
        if isinstance(message, StepDone) and not refused.is_set():
            refused.set()
            raise TransientError("away", code="kafka_unavailable")
        return await publish(topic, key, message, **more)

    monkeypatch.setattr(stage.publisher, "publish", publish_at_the_second_try)
    await stage.start()
    booker.may_end.clear()
    await stage.step()
    await booker.booking.wait()
    if ends_first:
        booker.may_end.set()
        await refused.wait()
    await stage.stop()
    done = await stage.said(DONE)

    ended = StepOutcome.OK if ends_first else StepOutcome.CANCELLED
    assert (done.outcome, done.compensation) == (ended, Compensation(agent="booker"))
    assert booker.events == ["booking", "booked" if ends_first else "booking stopped"]


async def test_an_attempt_that_does_not_heed_its_stop_is_not_undone_while_it_runs(
    stage, booker, monkeypatch
):
    monkeypatch.setattr(compensate, "ENDS_WITHIN_S", 0.1)
    await stage.start()
    booker.stubborn = True
    booker.may_end.clear()
    await stage.step()
    await booker.booking.wait()
    await stage.undo()
    failed = await stage.said(UNDONE.format(1))
    assert (failed.outcome, failed.error.code) == (StepOutcome.ERROR, "still_running")
    assert failed.error.retryable
    assert booker.events == ["booking"]

    booker.may_end.set()
    await stage.said(DONE)
    await stage.undo(number=2)
    assert (await stage.said(UNDONE.format(2))).outcome is StepOutcome.OK


async def test_a_stop_of_the_run_stops_no_compensation(stage, booker):
    await stage.stop()
    await stage.start()
    booker.may_end.clear()
    await stage.undo()
    await booker.cancelling.wait()
    await stage.step(step_id="s2", generation=1)
    await booker.booking.wait()  # a step of the run's next generation is not covered either
    await stage.stop(generation=1)
    assert (await stage.said("r1/s2/1/step_done")).outcome is StepOutcome.CANCELLED
    booker.may_end.set()
    assert (await stage.said(UNDONE.format(1))).outcome is StepOutcome.OK


async def test_a_stop_that_names_a_try_stops_it_and_not_the_next(stage, booker):
    await stage.start()
    booker.may_end.clear()
    await stage.undo()
    await booker.cancelling.wait()
    await stage.stop(attempts={"s1": 1}, compensation=True)
    stopped = await stage.said(UNDONE.format(1))
    assert (stopped.outcome, stopped.error.code) == (StepOutcome.CANCELLED, "cancelled")

    booker.may_end.set()
    await stage.undo(number=2)
    assert (await stage.said(UNDONE.format(2))).outcome is StepOutcome.OK


async def test_a_try_that_hangs_ends_at_its_limit(stage, booker):
    await stage.start()
    booker.may_end.clear()
    await stage.undo(timeouts=Timeouts(run_s=0.05))
    assert (await stage.said(UNDONE.format(1))).error.code == "timeout"


async def test_a_compensation_at_work_when_its_instance_leaves_is_made_by_the_next(stage, booker):
    first = await stage.start()
    booker.may_end.clear()
    await stage.undo()
    await booker.cancelling.wait()
    await first.leave()
    booker.may_end.set()
    await stage.start("i2")
    done = await stage.said(UNDONE.format(1))
    assert (done.outcome, done.instance) == (StepOutcome.OK, "i2")


async def test_what_cannot_be_a_compensation_goes_to_the_dead_letters_and_others_go_on(stage):
    instance = await stage.start()
    topic = stage.site.topics.steps("booker")
    headers = [("ce_type", b"starlings.compensation_ready.v1"), ("ce_specversion", b"1.0")]
    await stage.publisher.forward(topic, b"r1/s1", b'{"number": 0}', headers=headers)
    await stage.undo()
    assert (await stage.said(UNDONE.format(1))).outcome is StepOutcome.OK
    assert instance.runtime.consumer.counters.undecodable == 1
