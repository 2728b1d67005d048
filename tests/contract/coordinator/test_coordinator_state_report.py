"""The coordinator is disposable: what it reports is what a fresh reader gets, from wherever."""

from __future__ import annotations

import json

import pytest
from aiokafka import TopicPartition

from starlings.kafka.restore_point import read_metadata, read_report, write_metadata
from starlings.messages import RunSnapshot
from starlings.replay.rebuilding import rebuilt

from .conftest import step
from .test_coordinator_recovery import SMALL, commit, noise

pytestmark = pytest.mark.kafka

OFTEN = {**SMALL, "state_report_s": 0.01}


async def report_of(stage, at, partition=0):
    """Wait for a report of a state that has folded so much."""

    async def find():
        committed = await stage.commit(partition)
        report = read_report(committed.metadata) if committed else None
        return report if report is not None and report.at >= at else None

    return await stage.see(find, f"a report as of {at}")


async def three_ways(stage, **asked):
    return await rebuilt(stage.connection, stage.codec("reader"), stage.topics, **asked)


async def carried_run(stage):
    """Let a run be carried forward so far that its plan is not needed any more."""
    first = await (await stage.start(**OFTEN)).ready()
    planned = await stage.plan("r", step("a"), step("b", "a"), step("c", "a", "b"))
    await stage.plan("over", step("a"))
    await stage.play("over", "a")
    await stage.end("over")
    await stage.done("r", "a", {"kept": True})
    await stage.work("r", "b")
    last = await noise(stage, 2_500)
    await stage.see(lambda: stage.all(RunSnapshot, "r"), "a snapshot")

    async def moved():
        return (await stage.restore_from() or 0) > planned + 1_000

    await stage.see(moved, "restore_from passes the plan")
    return first, planned, last


async def test_three_ways_give_one_state_after_a_crash_and_with_a_run_that_was_carried(stage):
    first, planned, last = await carried_run(stage)
    await first.crash()
    second = await (await stage.start(**OFTEN)).ready()
    [partition] = second.coordinator.partitions.values()
    assert partition.start > planned
    report = await report_of(stage, last)
    [made] = await three_ways(stage)
    assert (made.runs, made.differences, made.unjudged) == ([], [], [])
    assert made.report is not None
    assert made.at >= report.at
    assert (made.report.runs, made.from_start.found.runs) == (1, 1)
    assert made.report.hash == made.from_start.found.value == made.from_restore.found.value
    assert made.from_start.start == 0
    assert planned < made.from_restore.start < made.at
    assert made.from_restore.records < made.from_start.records
    await stage.done("r", "b", 2)
    work = await stage.work("r", "c")
    later = await report_of(stage, made.at + 1)
    assert later.hash != report.hash
    [made] = await three_ways(stage, partition=0)
    assert (made.are_same, made.unjudged) == (True, [])
    assert work.message.step_id == "c"


async def test_a_forged_report_and_a_place_to_begin_that_is_too_late_are_told(stage):
    first, _, last = await carried_run(stage)
    report = await report_of(stage, last)
    await first.leave()
    forged = report.model_copy(update={"hash": "f" * 32})
    await commit(stage, report.at, write_metadata(report.restore_from, forged))
    [made] = await three_ways(stage)
    assert len(made.differences) == 2
    assert made.runs == []
    too_late = report.model_copy(update={"restore_from": report.at})
    await commit(stage, report.at, write_metadata(report.at, too_late))
    [made] = await three_ways(stage)
    assert [run.run_id for run in made.runs] == ["r"]


async def test_a_coordinator_begins_where_a_commit_with_a_report_says(stage):
    first, planned, last = await carried_run(stage)
    await report_of(stage, last)
    await first.leave()
    committed = await stage.commit()
    assert read_report(committed.metadata) is not None
    assert json.loads(committed.metadata)["v"] == 1
    restore_from = read_metadata(committed.metadata)
    quiet = await (await stage.start(**SMALL, state_report_s=0)).ready()
    [partition] = quiet.coordinator.partitions.values()
    assert partition.start == restore_from > planned
    end = await noise(stage, 1)

    async def committed_again():
        found = await stage.commit()
        return found if found.offset > end else None

    later = await stage.see(committed_again, "another commit")
    assert read_report(later.metadata) is None
    [made] = await three_ways(stage)
    assert made.are_same
    assert made.from_restore.found.runs == 1
    assert "has reported no state yet" in made.unjudged[0]


async def test_each_partition_has_a_report_of_its_own(open_stage):
    stage = await open_stage(2)
    await (await stage.start(**OFTEN)).ready(2)
    runs = await stage.runs_in_each_partition()
    ends = [await stage.plan(run_id, step("a"), step("b", "a")) for run_id in runs]
    for run_id in runs:
        await stage.work(run_id, "a")
    for number, end in enumerate(ends):
        await report_of(stage, end + 1, number)
    made = await three_ways(stage)
    assert [(each.place.partition, each.are_same, each.unjudged) for each in made] == [
        (0, True, []),
        (1, True, []),
    ]
    assert [each.from_start.found.runs for each in made] == [1, 1]
    [one] = await three_ways(stage, partition=1)
    assert one.place == TopicPartition(stage.topics.events, 1)
