"""Jobs on a real Kafka: begun once, looked after by whoever owns the partition."""

from __future__ import annotations

import asyncio

import pytest
from support.farm import Farm, committed, ends
from support.waiting import wait_until

from starlings import JobAgent, JobStatus, Limit, StepContext
from starlings.messages import (
    CompensationDone,
    StepOutcome,
    StepProgress,
)

pytestmark = pytest.mark.kafka


async def test_a_job_waits_without_a_slot_and_without_lag_and_its_end_is_told_once(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    instance = await stage.start()
    await stage.step()
    await stage.said("r1/s1/1/step_started")
    await farm.looked_at()

    async def no_lag() -> bool:
        return await committed(stage) == 1

    await wait_until(no_lag, timeout_s=30, message="the offset of the waiting step is committed")
    assert instance.runtime.consumer.running == 0

    farm.ends["r1/s1/1"] = JobStatus.succeeded({"corn": 3}, summary="three")
    done = await stage.said("r1/s1/1/step_done")

    assert (done.outcome, done.output, done.summary) == (StepOutcome.OK, {"corn": 3}, "three")
    assert done.compensation is not None
    assert farm.created == ["r1/s1/1"]
    store = instance.runtime.claims.store
    await wait_until(
        lambda: not store.of_partition(0), timeout_s=30, message="nothing is kept of it"
    )
    assert len(ends(stage)) == 1
    assert [p.progress for p in ends(stage, StepProgress)] == [{"phase": "running"}]


async def test_a_successor_goes_on_looking_and_submits_nothing(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    first = await stage.start("i1")
    for number in range(20):
        await stage.step(run_id=f"r{number}")
    await wait_until(lambda: len(farm.created) == 20, timeout_s=30, message="all are submitted")
    await farm.looked_at("r19/s1/1")
    await first.leave()

    second = await stage.start("i2")
    await farm.looked_at("r7/s1/1")
    await stage.step(run_id="r7")  # a repeat by a coordinator that was taken for dead
    for number in range(20):
        farm.ends[f"r{number}/s1/1"] = JobStatus.succeeded(number)
    for number in range(20):
        assert (await stage.said(f"r{number}/s1/1/step_done")).output == number

    assert sorted(farm.created) == sorted(f"r{n}/s1/1" for n in range(20))
    store = second.runtime.claims.store
    await wait_until(
        lambda: not store.of_partition(0), timeout_s=30, message="nothing is kept of them"
    )
    assert len(ends(stage)) == 20


async def test_a_stop_deletes_the_job_again_and_again_until_that_succeeds(open_stage):
    farm = Farm(refuse_to_delete=2)
    stage = await open_stage(farm.agent())
    instance = await stage.start()
    await stage.step()
    await farm.looked_at()
    await stage.stop()

    done = await stage.said("r1/s1/1/step_done")

    assert (done.outcome, done.error.code) == (StepOutcome.CANCELLED, "cancelled")
    assert farm.deleted == ["r1/s1/1"] * 3
    store = instance.runtime.claims.store
    await wait_until(
        lambda: not store.of_partition(0), timeout_s=30, message="nothing is kept of it"
    )


async def test_a_stop_that_nobody_heard_is_found_by_the_successor(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    first = await stage.start("i1")
    await stage.step()
    await farm.looked_at()
    await first.leave()
    await stage.stop()

    await stage.start("i2")

    assert (await stage.said("r1/s1/1/step_done")).outcome is StepOutcome.CANCELLED
    assert farm.deleted == ["r1/s1/1"]


async def test_a_job_that_has_ended_when_the_stop_comes_keeps_its_result(open_stage):
    farm = Farm(settings={"first_poll_s": 3_600, "longest_poll_s": 3_600})
    stage = await open_stage(farm.agent())
    await stage.start()
    await stage.step()
    await stage.said("r1/s1/1/step_started")
    farm.ends["r1/s1/1"] = JobStatus.succeeded("corn")  # nobody will look for an hour
    await stage.stop()

    done = await stage.said("r1/s1/1/step_done")

    assert (done.outcome, done.output) == (StepOutcome.OK, "corn")  # so that it can be undone
    assert farm.deleted == []


async def test_an_attempt_beyond_its_limit_deletes_its_job_and_may_be_tried_again(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    await stage.start()
    await stage.step(timeouts={"run_s": 0.5})

    done = await stage.said("r1/s1/1/step_done")

    assert (done.error.code, done.error.retryable) == ("timeout", True)
    assert "0.5 s (timeouts.run_s)" in done.error.message
    assert farm.deleted == ["r1/s1/1"]


async def test_a_waiting_job_is_ended_before_it_is_undone(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    await stage.start()
    await stage.step()
    await farm.looked_at()
    await stage.undo(input="corn")

    undone = await stage.said("r1/s1/1/compensation_done/1")

    assert isinstance(undone, CompensationDone)
    assert undone.outcome is StepOutcome.OK
    assert (farm.deleted, farm.undone) == (["r1/s1/1"], ["corn"])
    assert (await stage.said("r1/s1/1/step_done")).outcome is StepOutcome.CANCELLED


async def test_a_job_whose_step_was_sent_back_from_the_dead_letters_is_looked_after(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    await stage.start()
    await stage.send_back()
    await farm.looked_at()
    await stage.undo()
    assert (await stage.said("r1/s1/1/compensation_done/1")).outcome is StepOutcome.OK
    assert farm.deleted == ["r1/s1/1"]
    [done] = ends(stage)
    assert done.outcome is StepOutcome.CANCELLED


async def test_a_stop_while_a_job_is_being_created_waits_for_it_and_deletes_it(open_stage):
    farm, entered, go_on = Farm(), asyncio.Event(), asyncio.Event()
    agent = JobAgent[str]("farm", description="Farms")
    agent.get(farm.get)
    agent.delete(farm.delete)

    @agent.create
    async def create(task: str, ctx: StepContext) -> str:
        entered.set()
        await go_on.wait()
        return ctx.idempotency_key

    stage = await open_stage(agent)
    instance = await stage.start()
    await stage.step()
    await asyncio.wait_for(entered.wait(), 30)
    await stage.stop()
    counters = instance.runtime.consumer.counters
    await wait_until(lambda: counters.cancelled == 1, timeout_s=30, message="the stop is heard")
    go_on.set()

    assert (await stage.said("r1/s1/1/step_done")).outcome is StepOutcome.CANCELLED
    assert farm.deleted == ["r1/s1/1"]


async def test_signs_of_life_are_given_as_often_as_the_coordinator_expects_them(open_stage):
    farm = Farm(settings={"first_poll_s": 60, "longest_poll_s": 60})
    stage = await open_stage(farm.agent())
    await stage.start()
    await stage.step(timeouts={"heartbeat_s": 0.3})

    await wait_until(
        lambda: len(ends(stage, StepProgress)) >= 4, timeout_s=30, message="four signs of life"
    )


async def test_signs_of_life_every_microsecond_cost_no_more_looks_than_can_be_made(open_stage):
    farm = Farm(settings={"first_poll_s": 60, "longest_poll_s": 60})
    stage = await open_stage(farm.agent())
    await stage.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stage.step(timeouts={"heartbeat_s": 1e-6})
    await farm.looked_at(more=3)
    asked = farm.asked["r1/s1/1"]
    assert asked <= (loop.time() - began) / 0.05 + 1


async def test_a_limit_counts_jobs_while_they_are_created_and_not_while_they_wait(open_stage):
    farm = Farm()
    agent = JobAgent[str](
        "farm", description="Farms", first_poll_s=0.02, limits=[Limit("provider", at_once=2)]
    )
    agent.get(farm.get)
    agent.delete(farm.delete)
    at_once: list[int] = []
    creating = 0

    @agent.create
    async def create(task: str, ctx: StepContext) -> str:
        nonlocal creating
        creating += 1
        at_once.append(creating)
        await asyncio.sleep(0.05)  # a call takes its time
        creating -= 1
        return await farm.create(ctx)

    stage = await open_stage(agent)
    instance = await stage.start()
    for number in range(12):
        await stage.step(run_id=f"r{number}")
    holding = instance.runtime._waiting.holding
    await wait_until(lambda: len(holding) == 12, timeout_s=30, message="all twelve jobs wait")

    assert max(at_once) == 2


async def test_an_instance_without_a_share_of_a_limit_leaves_its_jobs_to_the_others(open_stage):
    farm = Farm(settings={"limits": [Limit("provider", at_once=1)]})
    stage = await open_stage(farm.agent())
    second = await stage.start("second")
    await stage.step()
    await farm.looked_at()
    holding = second.runtime._waiting.holding
    assert len(holding) == 1
    first = await stage.start("first")  # the one share is its own, by its name

    others = first.runtime._waiting.holding
    await wait_until(lambda: len(others) == 1, timeout_s=60, message="it looks after the job")
    assert len(holding) == 0
    farm.ends["r1/s1/1"] = JobStatus.succeeded("corn")
    assert (await stage.said("r1/s1/1/step_done")).instance == "first"
    assert farm.created == ["r1/s1/1"]
