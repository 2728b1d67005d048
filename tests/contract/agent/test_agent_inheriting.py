"""What a dead instance left behind: finished steps stay finished, unfinished ones are done."""

from __future__ import annotations

import asyncio

import pytest
from support.waiting import wait_until

from starlings import Agent, StepContext
from starlings.messages import CompensationDone, StepDone, StepOutcome, run_key

pytestmark = pytest.mark.kafka


class Worker:
    """An agent that notes what it does."""

    def __init__(self):
        self.agent = Agent("worker", description="Works")
        self.agent.step(self.work)
        self.agent.compensate(self.undo)
        self.did = []

    async def work(self, ctx: StepContext) -> str:
        self.did.append(ctx.step_id)
        return ctx.step_id

    async def undo(self, ctx: StepContext) -> str:
        self.did.append(f"undo {ctx.step_id}")
        return "undone"


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
async def stage(open_stage, worker):
    return await open_stage(worker.agent)


async def finish(stage, fact, ident):
    """Publish a result as an instance does that dies before it commits."""
    events = stage.site.topics.events
    await stage.publisher.publish(events, run_key(fact.run_id), fact, id=ident, subject=fact.run_id)


def done(step_id: str, attempt: int = 1) -> StepDone:
    return StepDone(
        run_id="r1", step_id=step_id, attempt=attempt, agent="worker", outcome=StepOutcome.OK
    )


async def test_a_step_whose_result_is_in_the_log_is_not_done_again(stage, worker):
    for number in range(1, 6):
        await stage.step(step_id=f"s{number}")
    for number in (1, 3):
        await finish(stage, done(f"s{number}"), f"r1/s{number}/1/step_done")
    await stage.start()
    for number in (2, 4, 5):
        await stage.said(f"r1/s{number}/1/step_done")
    await stage.step(step_id="s6")
    await stage.said("r1/s6/1/step_done")
    assert sorted(worker.did) == ["s2", "s4", "s5", "s6"]


async def test_a_stopped_step_that_a_dead_instance_may_have_begun_is_undone(stage, worker):
    """The dead one may have done it, and nobody else knows: its successor says how to undo it."""
    await stage.step(step_id="s1")
    await stage.stop()
    await stage.start()
    begun = await stage.said("r1/s1/1/step_done")
    assert (begun.outcome, begun.error.code) == (StepOutcome.CANCELLED, "cancelled")
    assert begun.compensation.agent == "worker"
    await stage.step(step_id="s2")
    never_begun = await stage.said("r1/s2/1/step_done")
    assert (never_begun.outcome, never_begun.compensation) == (StepOutcome.CANCELLED, None)
    assert worker.did == []


async def test_another_attempt_of_a_finished_step_is_done(stage, worker):
    await stage.step(step_id="s1")
    await finish(stage, done("s1"), "r1/s1/1/step_done")
    await stage.step(step_id="s1", attempt=2)
    await stage.start()
    await stage.said("r1/s1/2/step_done")
    assert worker.did == ["s1"]


async def test_a_compensation_whose_result_is_in_the_log_is_not_done_again(stage, worker):
    await stage.undo(step_id="s1")
    result = CompensationDone(
        run_id="r1", step_id="s1", attempt=1, number=1, agent="worker", outcome=StepOutcome.OK
    )
    await finish(stage, result, "r1/s1/1/compensation_done/1")
    await stage.step(step_id="s2")
    instance = await stage.start()
    await stage.said("r1/s2/1/step_done")
    handled = instance.runtime.consumer.counters
    await wait_until(lambda: handled.handled == 2, message="both are off the list")
    assert worker.did == ["s2"]


async def test_an_instance_that_can_hear_of_no_stops_any_more_ends(stage, worker, monkeypatch):
    instance = await stage.start()

    def fail(_stop):
        raise ZeroDivisionError("our own mistake")

    monkeypatch.setattr(instance.runtime._stops, "add", fail)
    await stage.stop("r1")

    with pytest.raises(ZeroDivisionError, match="our own mistake"):
        await asyncio.wait_for(instance.life, 30)
