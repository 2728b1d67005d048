"""Jobs and sensors on a real Kafka: begun once, looked after by whoever owns the partition."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition
from support.sites import records_of
from support.waiting import wait_until

from starlings import JobAgent, JobStatus, Limit, Sensor, StepContext, Waiting
from starlings.kafka.dead_letters import KEY
from starlings.messages import (
    AttemptCheckpoint,
    CompensationDone,
    StepDone,
    StepOutcome,
    StepProgress,
    StepStarted,
    step_key,
)

pytestmark = pytest.mark.kafka


@dataclass
class Farm:
    """A system that runs jobs; they go on until they are told an end."""

    created: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    deleted: list[str] = field(default_factory=list)
    undone: list[Any] = field(default_factory=list)
    ends: dict[str, JobStatus] = field(default_factory=dict)
    refuse_to_delete: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def agent(self) -> JobAgent[str]:
        defaults = {"first_poll_s": 0.02, "longest_poll_s": 0.05}
        agent = JobAgent[str]("farm", description="Farms", **{**defaults, **self.settings})
        agent.create(self.create)
        agent.get(self.get)
        agent.delete(self.delete)
        agent.compensate(self.scrap)
        return agent

    async def create(self, ctx: StepContext) -> str:
        self.created.append(ctx.idempotency_key)
        return ctx.idempotency_key

    async def get(self, job: str) -> JobStatus:
        self.asked[job] += 1
        return self.ends.get(job, JobStatus.running())

    async def delete(self, job: str) -> None:
        self.deleted.append(job)
        if len(self.deleted) <= self.refuse_to_delete:
            raise OSError("no route to the farm")

    async def scrap(self, output: Any) -> None:
        self.undone.append(output)

    async def looked_at(self, job: str = "r1/s1/1", more: int = 2) -> None:
        """Wait until a job has been looked at some times more."""
        begun = self.asked[job]
        await wait_until(
            lambda: self.asked[job] >= begun + more, timeout_s=30, message=f"{job} is looked at"
        )


async def committed(stage) -> int:
    place = TopicPartition(stage.site.topics.steps(stage.agent.name), 0)
    group = stage.site.topics.agent_group(stage.agent.name)
    commits = await stage.site.connection.committed(group, [place])
    return commits[place].offset if place in commits else 0


def ends(stage, kind=StepDone) -> list[Any]:
    return [fact.message for fact in stage.facts if isinstance(fact.message, kind)]


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
