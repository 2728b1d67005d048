"""Crashes between any two actions, and where the next coordinator begins to read."""

from __future__ import annotations

import functools

import pytest
from aiokafka import OffsetAndMetadata, TopicPartition

from starlings.choreography import CarryPolicy, Ledger, Position
from starlings.kafka.restore_point import write_metadata
from starlings.messages import (
    EventHandled,
    EventOutcome,
    Plan,
    PlanCreated,
    RunDone,
    RunOutcome,
    RunSnapshot,
    StepDone,
    StepOutcome,
    StepProgress,
    StepReady,
    snapshot_id,
)

from .conftest import TRACE, step, work_id
from .faults import CutWire

pytestmark = pytest.mark.kafka

SMALL = {"look_back_records": 1_000, "carry_after_records": 1_000}


async def noise(stage, count):
    """Fill the log with facts of no run."""
    fact = StepProgress(run_id="nobody", step_id="x", attempt=1, agent="math")
    for number in range(count - 1):
        await stage.publisher.send(
            stage.topics.events, b"nobody", fact, id=f"noise/{number}", subject="nobody"
        )
    return await stage.tell(fact, "noise/last")


async def commit(stage, offset, metadata):
    """Commit as an earlier coordinator would have."""
    consumer = stage.connection.consumer(group_id=stage.topics.coordinator_group)
    place = TopicPartition(stage.topics.events, 0)
    consumer.assign([place])
    await consumer.start()
    try:
        await consumer.commit({place: OffsetAndMetadata(offset, metadata)})
    finally:
        await consumer.stop()


@pytest.mark.parametrize("arrives", [False, True], ids=["message lost", "acknowledgement lost"])
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_coordinators_that_die_with_every_few_messages_still_finish_a_run(
    stage, after, arrives
):
    await stage.plan("r", step("a"), step("b", "a"), step("c", "b"))
    open_steps = ["a", "b", "c"]
    for messages in [after] * 4 + [1_000]:
        wire = functools.partial(CutWire, after=messages, arrives=arrives)
        actor = await stage.start(publisher=wire)
        while True:
            happened = functools.partial(_happened, stage, actor, open_steps)
            name = await stage.see(happened, "death, the end, or work for an agent")
            if name not in open_steps:
                break
            open_steps.remove(name)
            await stage.done("r", name, name)
        await actor.crash()
    assert stage.works("r") == [work_id("r", name) for name in "abc"]
    assert len({seen.record.value for seen in stage.all(StepReady, "r")}) == 3
    assert {seen.message.output for seen in stage.all(RunDone, "r")} == {"c"}


def _happened(stage, actor, open_steps):
    announced = [seen.message.step_id for seen in stage.all(StepReady, "r")]
    name = next((name for name in open_steps if name in announced), None)
    if name is None and stage.all(RunDone, "r"):
        return "the end"
    return "death" if name is None and actor.publisher.cut.is_set() else name


async def test_what_was_decided_and_not_confirmed_comes_again_under_its_id(stage):
    dead = await (await stage.start()).ready()
    await stage.plan("r", step("a"), step("b"))
    await stage.work("r", "b")
    await dead.crash()
    await (await stage.start()).ready()
    await stage.see(lambda: len(stage.all(StepReady, "r")) == 4, "both come again")
    assert stage.works("r") == [work_id("r", "a"), work_id("r", "b")]
    assert len({seen.record.value for seen in stage.all(StepReady, "r")}) == 2


async def test_reactions_to_events_are_passed_over_by_their_header_and_never_held(stage):
    handled = EventHandled(
        run_id="r", agent="a", event_id="e", event_type="opened", outcome=EventOutcome.OK
    )
    for number in range(5):  # before there is a plan of that id, and while the log is read back
        await stage.tell(handled, f"e/{number}")
    headers = [("ce_type", EventHandled.CE_TYPE.encode()), ("ce_subject", b"r")]
    await stage.tell_raw(b"no body that anybody would read", key=b"r", headers=headers)
    actor = await (await stage.start()).ready()
    [partition] = actor.coordinator.partitions.values()
    assert not partition.ledger.held
    await stage.plan("r", step("a"))
    await stage.tell(handled, "e/later")
    await stage.play("r", "a")
    assert (await stage.end("r")).outcome is RunOutcome.COMPLETED
    assert actor.coordinator.counters.undecodable == 0
    assert stage.on(stage.topics.dead_letters) == []


async def test_a_restart_reads_from_restore_from_and_not_from_the_beginning(stage):
    first = await (await stage.start(**SMALL)).ready()
    await stage.plan("old", step("a"))
    await stage.play("old", "a")
    await stage.end("old")
    last = await noise(stage, 2_500)
    await stage.plan("open", step("a"), step("b", "a"))
    await stage.play("open", "a")
    await stage.work("open", "b")
    await stage.see(lambda: _moved(stage, last - 1_100), "restore_from follows the look-back")
    await first.leave()
    restore_from = await stage.restore_from()
    second = await (await stage.start(**SMALL)).ready()
    [partition] = second.coordinator.partitions.values()
    assert partition.start == restore_from
    assert second.coordinator.counters.facts <= last + 20 - restore_from
    assert set(partition.ledger.runs) == {"open"}
    await stage.done("open", "b", "end")
    assert (await stage.end("open")).output == "end"


async def _moved(stage, beyond):
    return (await stage.restore_from() or 0) > beyond


async def test_a_run_carried_forward_is_restored_from_its_snapshot_and_finished(stage):
    first = await (await stage.start(**SMALL)).ready()
    planned = await stage.plan("r", step("a"), step("b", "a"), step("c", "a", "b"))
    await stage.done("r", "a", {"kept": True})
    await stage.work("r", "b")
    await noise(stage, 2_500)
    [carried] = await stage.see(lambda: stage.all(RunSnapshot, "r"), "a snapshot")
    assert carried.message.plan_offset == planned
    assert carried.id == snapshot_id("r", planned, carried.message.as_of)
    assert carried.headers["traceparent"] == TRACE.encode()
    await stage.see(lambda: _moved(stage, planned + 1_000), "restore_from passes the plan")
    assert first.coordinator.counters.carried == 1
    await first.crash()
    second = await (await stage.start(**SMALL)).ready()
    [partition] = second.coordinator.partitions.values()
    assert partition.start > planned
    await stage.done("r", "b", 2)
    work = await stage.work("r", "c")
    assert [d.output for d in work.message.context] == [{"kept": True}, 2]
    assert work.headers["traceparent"] == TRACE.encode()  # what made it ready had none
    await stage.done("r", "c", 3)
    assert (await stage.end("r")).output == 3


async def test_a_reader_that_starts_between_a_plan_and_its_repeat_reads_again(stage):
    """The snapshot names its plan; a reader that took the repeat for the beginning learns of it."""
    steps = Plan(steps=[step("a"), step("b", "a")])
    plan = PlanCreated(run_id="r", request="please", plan=steps)
    planned = await stage.tell(plan)
    result = StepDone(run_id="r", step_id="a", attempt=1, agent="math", outcome=StepOutcome.OK)
    ended = await stage.tell(result, "r/a/1/step_done")
    state = Ledger(policy=CarryPolicy())
    for place, fact in [(planned, plan), (ended, result)]:
        state.fold(Position(place, 1_000), fact)
    snapshot = state.carry("r")
    await stage.tell(plan)  # the repeat
    await stage.tell(snapshot, "snapshot")
    await commit(stage, ended + 1, write_metadata(ended + 1))
    actor = await (await stage.start()).ready()
    await stage.work("r", "b")
    assert stage.works("r") == [work_id("r", "b")]
    [partition] = actor.coordinator.partitions.values()
    assert partition.ledger.runs["r"].plan_offset == planned
    await stage.done("r", "b", "end")
    assert (await stage.end("r")).outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize(
    ("metadata", "offset"), [("", 1), ("not ours", 1), ('{"v": 1, "restore_from": 0}', 1_000_000)]
)
async def test_a_commit_that_is_foreign_or_of_another_log_means_reading_all(
    stage, metadata, offset
):
    await stage.plan("r", step("a"))
    await commit(stage, offset, metadata)
    await (await stage.start()).ready()
    await stage.play("r", "a")
    await stage.end("r")
