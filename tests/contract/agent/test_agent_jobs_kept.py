"""What was kept of a job and cannot be read, or makes no sense, fails its step and no other."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from support.farm import Farm, ends
from support.sites import records_of
from support.waiting import wait_until

from starlings.kafka.dead_letters import KEY
from starlings.messages import (
    AttemptCheckpoint,
    StepOutcome,
    StepStarted,
    step_key,
)

pytestmark = pytest.mark.kafka


async def test_what_was_kept_and_cannot_be_read_fails_its_step(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    topic = stage.site.topics.checkpoints("farm")
    broken = AttemptCheckpoint(work="r1/s1/1", offset=0, job={"handle": "but no step"})
    key = broken.key.encode()
    assert key == step_key("r1", "s1") + b"/1"
    await stage.publisher.publish(topic, key, broken, id="x", subject="r1")
    await stage.start()

    done = await stage.said("r1/s1/1/step_done")

    assert (done.error.code, done.error.retryable) == ("handle_invalid", True)


ABSURD = [
    {"began_ms": 10**40},
    {"began_ms": -1},
    {"began_ms": 1e300},
    {"deadline_ms": 10**18},
    {"deadline_ms": -(10**18)},
    {"heartbeat_s": "NaN"},
    {"heartbeat_s": "inf"},
    {"heartbeat_s": -5},
    {"attempt": 0},
    {"generation": -3},
]


async def keep(stage, work: str, **job: Any) -> AttemptCheckpoint:
    """Keep what another program might have kept of a job."""
    kept = {"attempt": 1, "agent": "farm", "began_ms": 1_700_000_000_000, "handle": "r0/s1/1"}
    checkpoint = AttemptCheckpoint(work=work, offset=0, job={**kept, **job})
    topic, key = stage.site.topics.checkpoints("farm"), checkpoint.key.encode()
    await stage.publisher.publish(topic, key, checkpoint, id="x", subject="r1")
    return checkpoint


async def buried(stage) -> dict[bytes, bytes]:
    """Give what lies in the dead letters, by the key that it had."""
    letters = stage.site.topics.dead_letters
    async with stage.site.connection.reading() as consumer:
        count = sum((await consumer.end_offsets([TopicPartition(letters, 0)])).values())
    records = await records_of(stage.site, letters, count)
    return {dict(r.headers)[KEY]: r.value for r in records}


async def test_absurd_numbers_that_were_kept_fail_their_steps_and_the_partition_opens(open_stage):
    farm = Farm()
    stage = await open_stage(farm.agent())
    runs = [f"r{number}" for number in range(1, len(ABSURD) + 1)]
    await keep(stage, "r0/s1/1", run_id="r0", step_id="s1")
    kept = [
        await keep(stage, f"{run_id}/s1/1", run_id=run_id, step_id="s1", **numbers)
        for run_id, numbers in zip(runs, ABSURD, strict=True)
    ]
    instance = await stage.start()
    await farm.looked_at("r0/s1/1")  # what can be read is looked after

    for run_id in runs:
        done = await stage.said(f"{run_id}/s1/1/step_done")
        assert (done.error.code, done.error.retryable) == ("handle_invalid", True)
    store = instance.runtime.claims.store
    await wait_until(
        lambda: set(store.of_partition(0)) == {"r0/s1/1"}, timeout_s=30, message="they are gone"
    )
    letters = await buried(stage)
    assert {
        key.decode(): AttemptCheckpoint.model_validate_json(value) for key, value in letters.items()
    } == {checkpoint.key: checkpoint for checkpoint in kept}


async def test_what_cannot_be_read_of_a_step_that_was_sent_back_ends_under_the_steps_name(
    open_stage,
):
    farm = Farm()
    stage = await open_stage(farm.agent())
    work = "redriven t.steps.farm/0/0%231"
    await keep(stage, work, run_id="r1", step_id="s1", began_ms="yesterday")
    await keep(stage, f"{work}0", run_id=7)  # nobody can say whose it was
    instance = await stage.start()

    done = await stage.said("r1/s1/1/step_done")

    assert (done.outcome, done.error.code) == (StepOutcome.ERROR, "handle_invalid")
    store = instance.runtime.claims.store
    await wait_until(lambda: not store.of_partition(0), timeout_s=30, message="both are gone")
    assert set(await buried(stage)) == {work.encode(), f"{work}0".encode()}
    assert len(ends(stage)) == 1


async def test_what_is_spoilt_while_a_job_waits_fails_its_step_and_stops_are_heard(open_stage):
    farm = Farm(settings={"first_poll_s": 3_600, "longest_poll_s": 3_600})
    stage = await open_stage(farm.agent())
    instance = await stage.start()
    await stage.step()
    await stage.step(run_id="r2")
    await wait_until(lambda: len(ends(stage, StepStarted)) == 2, timeout_s=30, message="both wait")
    holding = instance.runtime._waiting.holding
    await wait_until(lambda: len(holding) == 2, timeout_s=30, message="both are looked after")
    spoilt = AttemptCheckpoint(work="r1/s1/1", offset=0, job={"began_ms": -1})
    await instance.runtime.claims.store.put(0, spoilt)
    await stage.stop()
    await stage.stop(run_id="r2")

    assert (await stage.said("r1/s1/1/step_done")).error.code == "handle_invalid"
    assert (await stage.said("r2/s1/1/step_done")).outcome is StepOutcome.CANCELLED
