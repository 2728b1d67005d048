"""Kafka goes away in the middle of runs, or before the coordinator's consumer is built."""

from __future__ import annotations

import asyncio

import pytest

from starlings.messages import RunDone, Topics
from starlings_coordinator import service

from .conftest import new_stage, step, work_id

pytestmark = pytest.mark.kafka


@pytest.mark.slow
async def test_a_broker_that_dies_and_comes_back_in_mid_run_costs_nothing(own_broker, tmp_path):
    stage = await new_stage(own_broker.bootstrap, Topics("t."), tmp_path)
    try:
        actor = await (await stage.start(stall_s=0.5)).ready()
        runs = [f"r{number}" for number in range(20)]
        for run_id in runs:
            await stage.plan(run_id, step("a"), step("b", "a"))
        for run_id in runs[:10]:
            await stage.play(run_id, "a")
        own_broker.kill()
        beats = {actor.coordinator.last_loop_monotonic}
        await stage.see(
            lambda: beats.add(actor.coordinator.last_loop_monotonic) or len(beats) > 20,
            "the loop goes on without a broker",
        )
        await asyncio.to_thread(own_broker.start)
        for run_id in runs:
            await stage.play(run_id, *(["b"] if run_id in runs[:10] else ["a", "b"]))
        for run_id in runs:
            await stage.end(run_id, timeout_s=40)
            assert stage.works(run_id) == [work_id(run_id, "a"), work_id(run_id, "b")]
        assert {len({s.record.value for s in stage.all(RunDone, r)}) for r in runs} == {1}
    finally:
        await stage.close()


@pytest.mark.slow
async def test_a_consumer_that_must_be_built_while_kafka_is_away_is_built_when_it_is_back(
    own_broker, tmp_path, monkeypatch
):
    for bound in ("LEAVE_WITHIN_S", "REVOKE_WITHIN_S", "REBUILD_PAUSE_S"):
        monkeypatch.setattr(service, bound, 0.2)
    stage = await new_stage(own_broker.bootstrap, Topics("t."), tmp_path)
    try:
        actor = await (await stage.start()).ready()
        await stage.plan("r", step("a"))
        await stage.work("r", "a")
        own_broker.kill()
        actor.coordinator._broken = RuntimeError("as if taking over had failed")
        await stage.see(lambda: actor.coordinator.rebuilt >= 2, "tried, and tried again")
        assert actor.coordinator.not_ready() == "not in its group yet"
        await asyncio.to_thread(own_broker.start)
        await actor.ready()
        await stage.done("r", "a", "end")
        assert (await stage.end("r", timeout_s=40)).output == "end"
    finally:
        await stage.close()


async def test_a_consumer_that_stalls_is_built_anew(stage):
    actor = await (await stage.start(stall_s=0.5)).ready()
    fetcher = actor.coordinator._consumer._fetcher
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):
        task.cancel()  # as some stalls of the client do: no more fetching, and no error
    await stage.plan("r", step("a"))
    await stage.play("r", "a")
    await stage.end("r")
    assert actor.coordinator.rebuilt == 1
