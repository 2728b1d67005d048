"""Sensors on a real Kafka: whoever owns the partition goes on with what the last poke left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from support.sites import records_of
from support.waiting import wait_until

from starlings import Limit, Sensor, StepContext, Waiting

pytestmark = pytest.mark.kafka


async def test_a_sensor_goes_on_with_its_state_on_another_instance(open_stage):
    seen: list[Any] = []
    tide = Sensor("tide", description="Waits", every_s=0.02)
    high = asyncio.Event()

    @tide.poke
    async def poke(task: str, ctx: StepContext) -> bool | Waiting:
        seen.append(ctx.state)
        return high.is_set() or Waiting(state=len(seen))

    stage = await open_stage(tide)
    first = await stage.start("i1")
    await stage.step()
    await wait_until(lambda: len(seen) >= 4, timeout_s=30, message="it is poked for")
    await first.leave()
    before = len(seen)
    await stage.start("i2")
    await wait_until(lambda: len(seen) > before, timeout_s=30, message="the successor pokes")
    high.set()
    done = await stage.said("r1/s1/1/step_done")

    assert done.output is True
    assert seen[0] is None
    assert seen[before] in (before, before - 1)  # the last poke may not have been kept any more
    assert seen[1:before] == list(range(1, before))


async def test_a_poke_knows_when_its_step_was_made_ready_however_late_it_is_made(open_stage):
    asked: list[Any] = []
    tide = Sensor("tide", description="Waits", every_s=0.02)
    high = asyncio.Event()

    @tide.poke
    async def poke(task: str, ctx: StepContext) -> bool:
        asked.append(ctx.asked_at)
        return high.is_set()

    stage = await open_stage(tide)
    await stage.step()  # nobody is there to take it
    (record,) = await records_of(stage.site, stage.site.topics.steps("tide"), 1)
    first = await stage.start("i1")
    await wait_until(lambda: len(asked) >= 3, timeout_s=30, message="it is poked for")
    await first.leave()
    before = len(asked)
    await stage.start("i2")
    await wait_until(lambda: len(asked) > before, timeout_s=30, message="the successor pokes")
    high.set()
    await stage.said("r1/s1/1/step_done")

    assert set(asked) == {datetime.fromtimestamp(record.timestamp / 1_000, UTC)}


async def test_what_is_so_already_ends_the_step_without_a_wait(open_stage):
    tide = Sensor("tide", description="Waits")

    @tide.poke
    async def poke(task: str) -> bool:
        return True

    stage = await open_stage(tide)
    await stage.start()
    await stage.step()

    assert (await stage.said("r1/s1/1/step_done")).output is True
    assert not any(fact.message.NAME == "step_started" for fact in stage.facts)


async def test_a_limit_counts_first_pokes_of_a_sensor_and_not_what_waits(open_stage):
    tide = Sensor("tide", description="Waits", every_s=60, limits=[Limit("provider", at_once=2)])
    at_once: list[int] = []
    poking = 0

    @tide.poke
    async def poke(task: str) -> bool:
        nonlocal poking
        poking += 1
        at_once.append(poking)
        await asyncio.sleep(0.05)  # a call takes its time
        poking -= 1
        return False

    stage = await open_stage(tide)
    instance = await stage.start()
    for number in range(12):
        await stage.step(run_id=f"r{number}")
    holding = instance.runtime._waiting.holding
    await wait_until(lambda: len(holding) == 12, timeout_s=30, message="all twelve steps wait")

    assert max(at_once) == 2
