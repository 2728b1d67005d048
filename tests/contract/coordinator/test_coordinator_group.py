"""Several coordinators: they share partitions, take over from each other, and do not quarrel."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition

from starlings.messages import ConfigError, RunDone, StepReady

from .conftest import step, work_id
from .faults import silenced

pytestmark = pytest.mark.kafka

RUNS = [f"run-{number}" for number in range(12)]


async def finish(stage, *run_ids):
    for run_id in run_ids:
        await stage.play(run_id, "b")
    for run_id in run_ids:
        end = await stage.end(run_id)
        assert end.output == "b"


async def begin(stage, *run_ids):
    for run_id in run_ids:
        await stage.plan(run_id, step("a"), step("b", "a"))
        await stage.play(run_id, "a")


async def shared(*actors):
    for actor in actors:
        await actor.ready(1)


async def test_two_share_the_partitions_and_the_runs(open_stage):
    stage = await open_stage(2)
    first = await (await stage.start()).ready(2)
    second = await stage.start()
    await shared(first, second)
    await begin(stage, *RUNS)
    await finish(stage, *RUNS)
    begun = [a.coordinator.counters.runs_begun for a in (first, second)]
    assert sum(begun) == len(RUNS)
    assert min(begun) > 0
    assert {len(stage.works(run_id)) for run_id in RUNS} == {2}


async def test_a_partition_that_comes_back_goes_on_where_it_was(open_stage):
    stage = await open_stage(2)
    first = await (await stage.start()).ready(2)
    await begin(stage, *RUNS)
    before = dict(first.coordinator.partitions)
    folded = first.coordinator.counters.facts
    second = await stage.start()
    await shared(first, second)
    [(place, kept)] = first.coordinator.partitions.items()
    assert kept is before[place]
    await stage.see(lambda: not kept.busy, "at rest")
    confirmations = 2 * len(RUNS)  # may come late
    assert first.coordinator.counters.facts <= folded + confirmations
    await finish(stage, *RUNS)


async def test_who_leaves_hands_over_at_once(open_stage):
    stage = await open_stage(2)
    first = await (await stage.start()).ready(2)
    second = await stage.start()
    await shared(first, second)
    await begin(stage, *RUNS)
    await first.leave()
    await asyncio.wait_for(second.ready(2), 5)
    await finish(stage, *RUNS)


async def test_who_dies_is_replaced_when_its_session_is_over(open_stage):
    stage = await open_stage(2)
    first = await (await stage.start(session_timeout_s=1.5)).ready(2)
    second = await stage.start(session_timeout_s=1.5)
    await shared(first, second)
    await begin(stage, *RUNS)
    with silenced(first):
        await first.crash()
    assert len(second.coordinator.partitions) == 1
    await asyncio.wait_for(second.ready(2), 15)
    await finish(stage, *RUNS)


async def test_a_static_member_that_was_killed_goes_on_without_disturbing_the_others(open_stage):
    stage = await open_stage(2)
    seats = [{"static_membership": True, "instance": f"c{n}"} for n in (1, 2)]
    first, second = [await stage.start(session_timeout_s=60, **seat) for seat in seats]
    await shared(first, second)
    await begin(stage, *RUNS)
    kept = dict(first.coordinator.partitions)
    lost = set(second.coordinator.partitions)
    await second.crash()
    third = await stage.start(session_timeout_s=60, **seats[1])
    await third.ready(1)
    await finish(stage, *RUNS)
    assert set(third.coordinator.partitions) == lost
    assert first.coordinator.partitions == kept


async def test_of_two_with_one_instance_id_the_earlier_ends(stage):
    seat = {"static_membership": True, "instance": "same"}
    first = await (await stage.start(**seat)).ready(1)
    second = await stage.start(**seat)
    with pytest.raises(ConfigError, match="STARLINGS_INSTANCE=same: two processes use one"):
        await asyncio.wait_for(first.life, 20)
    await first.publisher.stop()
    await second.ready(1)
    await begin(stage, "r1")
    await finish(stage, "r1")


async def test_a_session_timeout_that_the_broker_refuses_is_a_wrong_setting(stage):
    actor = await stage.actor()
    short = {"session_timeout_s": 0.3}  # this broker takes a second, others six
    actor.coordinator._settings = actor.coordinator._settings.model_copy(update=short)
    with pytest.raises(ConfigError, match="STARLINGS_SESSION_TIMEOUT_S lies outside"):
        await asyncio.wait_for(actor.coordinator.run(actor.stop), 20)
    await actor.publisher.stop()


async def test_a_spare_coordinator_is_ready_too(stage):
    first = await (await stage.start()).ready(1)
    spare = await stage.start()
    await stage.see(lambda: spare.coordinator._joined, "in the group")
    actors = (first, spare)
    await stage.see(
        lambda: sorted(len(a.coordinator.partitions) for a in actors) == [0, 1], "one has it"
    )
    await stage.see(
        lambda: [a.coordinator.not_ready() for a in actors] == [None, None], "both are ready"
    )


async def test_a_zombie_beside_the_owner_changes_nothing(stage):
    await (await stage.start()).ready()
    zombie, stop = await stage.actor(), asyncio.Event()
    # No member of the group, so that nothing tells it that it is not the owner.
    consumer = stage.connection.consumer(group_id=stage.topics.coordinator_group)
    await consumer.start()
    place = TopicPartition(stage.topics.events, 0)
    consumer.assign([place])
    zombie.coordinator._consumer = consumer
    await zombie.coordinator._take_over(consumer, [place])
    working = asyncio.create_task(zombie.coordinator._loop(consumer, stop))
    try:
        await begin(stage, *RUNS)
        await stage.plan(RUNS[0], step("other"))
        await finish(stage, *RUNS)
        for run_id in RUNS:
            assert stage.works(run_id) == [work_id(run_id, "a"), work_id(run_id, "b")]
            assert len({seen.record.value for seen in stage.all(StepReady, run_id)}) == 2
            assert len({s.message.output for s in stage.all(RunDone, run_id)}) == 1
        await stage.see(
            lambda: zombie.coordinator.counters.runs_ended == len(RUNS), "the zombie read it all"
        )
        decided = zombie.coordinator.counters.decisions
        assert decided > 0
    finally:
        stop.set()
        await working
        await zombie.coordinator._leave(consumer)
        await zombie.coordinator.outbox.close(1)
        await zombie.publisher.stop()


async def test_a_commit_that_its_group_refuses_is_made_up_for(stage):
    actor = await (await stage.start()).ready()
    [partition] = actor.coordinator.partitions.values()
    group = actor.coordinator._consumer._coordinator
    group.generation += 7  # as of a member that slept through rebalances
    await begin(stage, "r")
    await finish(stage, "r")
    last = partition.position

    async def made_up_for():
        commit = await stage.commit()
        return commit is not None and commit.offset >= last

    await stage.see(made_up_for, "the next commit tells")
    assert actor.coordinator.rebuilt == 0
