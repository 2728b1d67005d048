"""Three ways to one state: whatever the log, a fresh reader gets what the coordinator has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import ConsumerRecord, OffsetAndMetadata
from support.golden.archives import CODEC, Records
from support.golden.recorder import POLICY
from support.golden.records import golden_records
from support.golden.scenarios import SCENARIOS

from starlings.choreography import CarryPolicy
from starlings.kafka.restore_point import StateReport, write_metadata
from starlings.replay import Range
from starlings.replay.fresh_reader import FreshReader
from starlings.replay.rebuilding import Rebuilt, compare, first_difference
from starlings_coordinator.reporting import Reporting

STORIES = sorted(SCENARIOS)
NEAR = CarryPolicy(
    look_back_records=2,
    look_back_ms=1_000_000,
    carry_after_records=POLICY.carry_after_records,
    sample_every=1,
)


async def reported(records: Sequence[ConsumerRecord]) -> StateReport:
    """Let a coordinator read records, and report."""
    reader = FreshReader(0, codec=CODEC, policy=NEAR, is_whole=True)
    for record in records:
        await reader.read(record)
    reader.has_ended()
    reports = Reporting(0, every_s=30)
    reports.tend(reader.ledger)
    assert reports.latest is not None
    return reports.latest


def changed(report: StateReport, **fields: Any) -> StateReport:
    return StateReport(**{**report.model_dump(), **fields})


async def compared(
    records: Sequence[ConsumerRecord],
    report: StateReport | None = None,
    *,
    begin: int = 0,
    metadata: str | None = None,
) -> Rebuilt:
    """Compare the three ways; what lies before `begin` has been deleted."""
    end = records[-1].offset + 1
    found = Range(topic=records[0].topic, partition=0, begin=begin, first=begin, end=end)
    if metadata is None:
        metadata = write_metadata(0 if report is None else report.restore_from, report)

    def source(stretch: Range) -> Records:
        held = [r for r in records if stretch.first <= r.offset < stretch.end]
        return Records(held, begin=begin)

    return await compare(found, OffsetAndMetadata(end, metadata), codec=CODEC, source=source)


def value_of(record: ConsumerRecord, **changes: Any) -> ConsumerRecord:
    value = json.dumps({**json.loads(record.value), **changes}).encode()
    return record.__class__(**{**record.__dict__, "value": value})


def kind_of(record: ConsumerRecord) -> str:
    return str(dict(record.headers)["ce_type"].decode().split(".")[1])


def with_old_states(records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
    """Let snapshots be of the version before, which knew less."""

    def older(record: ConsumerRecord) -> ConsumerRecord:
        state = json.loads(record.value)["state"]
        state |= {"version": 3, "tags": {"as": "it was"}}
        return value_of(record, state=state)

    return [older(r) if kind_of(r) == "run_snapshot" else r for r in records]


@pytest.mark.parametrize("name", STORIES)
async def test_the_three_ways_give_one_state_wherever_the_report_was_made(name):
    records = golden_records(name)
    for end in range(1, len(records) + 1):
        report = await reported(records[:end])
        made = await compared(records, report)  # the log has gone on since
        assert made.unjudged == []
        assert made.are_same, (end, made.runs, made.differences)
        assert made.at == end
        assert made.from_restore.start == report.restore_from
        assert made.from_start.found == made.from_restore.found


async def renewed(records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
    """Let snapshots be written as this version does."""
    reader = FreshReader(0, codec=CODEC, policy=NEAR, is_whole=True)
    made = []
    for record in records:
        if kind_of(record) == "run_snapshot":
            value = json.loads(record.value)
            fact = reader.ledger.carry(value["run_id"])
            assert fact.as_of == value["as_of"]
            made.append(value_of(record, state=fact.model_dump(mode="json")["state"]))
        else:
            made.append(record)
        await reader.read(made[-1])
    return made


async def carried() -> tuple[list[ConsumerRecord], StateReport]:
    """A log in which a run was carried forward, cut where that is open; and a report."""
    records = golden_records("carried")
    ends = [n for n, record in enumerate(records) if kind_of(record) == "run_done"]
    records = await renewed(records[: ends[-1]])
    report = await reported(records)
    assert report.restore_from > 0
    assert report.runs
    return records, report


async def test_a_forged_report_is_a_difference():
    records, report = await carried()
    for forged in (changed(report, hash="f" * 32), changed(report, runs=report.runs + 1)):
        made = await compared(records, forged)
        assert len(made.differences) == 2
        assert made.unjudged == []
        assert forged.hash in made.differences[0]
        assert report.hash in made.differences[0]
        assert made.in_slice == ["long"]
        assert made.runs == []


async def test_a_report_with_a_place_to_begin_that_is_too_late_is_a_difference():
    records, report = await carried()
    made = await compared(records, changed(report, restore_from=report.at))
    assert [run.run_id for run in made.runs] == ["long"]
    assert made.runs[0].from_restore is None
    assert len(made.differences) == 1
    assert f"from offset {report.at} on" in made.differences[0]


async def test_a_snapshot_that_tells_another_story_is_a_difference_with_both_sides():
    records, report = await carried()
    last = max(n for n, record in enumerate(records) if kind_of(record) == "run_snapshot")
    state = json.loads(records[last].value)["state"]
    records[last] = value_of(records[last], state={**state, "request": "another"})
    made = await compared(records, report)
    (run,) = made.runs
    assert (run.run_id, run.path, run.from_restore) == ("long", "request", "another")
    assert run.from_start != "another"


async def test_without_a_report_the_two_readers_are_compared_and_that_is_said():
    records, report = await carried()
    made = await compared(records, metadata=write_metadata(report.restore_from))
    assert made.are_same
    assert made.at == len(records)
    assert made.from_restore.start == report.restore_from
    assert "has reported no state yet" in made.unjudged[0]
    last = write_metadata(len(records))
    assert not (await compared(records, metadata=last)).are_same


async def test_a_group_that_has_committed_nothing_is_no_difference():
    records, _ = await carried()
    found = Range(topic="starlings.events", partition=0, begin=0, first=0, end=len(records))
    made = await compare(found, None, codec=CODEC, source=lambda _: Records(records))
    assert made.are_same
    assert made.unjudged


async def test_an_empty_partition_is_the_same():
    found = Range(topic="starlings.events", partition=0, begin=0, first=0, end=0)
    made = await compare(found, None, codec=CODEC, source=lambda _: Records([]))
    assert (made.are_same, made.unjudged) == (True, [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"at": 10_000}, "was it made anew"),
        ({"state_version": 99}, "compare with its own version"),
    ],
)
async def test_a_report_of_another_log_or_version_is_not_judged(fields, said):
    records, report = await carried()
    made = await compared(records, changed(report, **fields))
    assert made.are_same
    assert said in made.unjudged[0]
    assert made.report is None


async def test_a_log_whose_beginning_is_gone_is_judged_from_where_it_is_complete():
    records, report = await carried()
    begin = report.restore_from
    made = await compared(records[begin:], report, begin=begin)
    assert (made.are_same, made.unjudged) == (True, [])
    assert made.from_start.start == begin


async def test_a_log_that_has_lost_what_open_runs_need_is_not_judged():
    records, report = await carried()
    begin = report.restore_from + 1
    while kind_of(records[begin - 1]) != "run_snapshot":
        begin += 1
    made = await compared(records[begin:], report, begin=begin)
    assert made.are_same
    assert "retention has deleted" in made.unjudged[0]


async def test_a_run_that_was_set_aside_for_another_reason_than_the_log_is_not_judged():
    records, report = await carried()
    made = await compared(records, changed(report, hash="0" * 32, runs=0, parked=1))
    assert made.are_same
    assert "has set a run aside" in made.unjudged[0]


async def test_a_value_that_can_be_read_no_more_puts_a_difference_in_doubt():
    records, report = await carried()
    claim = {"uri": "blob:gone", "sha256": "0" * 64, "size_bytes": 1, "media_type": "x/y"}
    done = next(n for n, record in enumerate(records) if kind_of(record) == "step_done")
    headers = (*records[done].headers, ("starlings_claim", b"1"))
    fields = {**records[done].__dict__, "value": json.dumps(claim).encode(), "headers": headers}
    records[done] = records[done].__class__(**fields)
    made = await compared(records, report)
    assert made.are_same
    assert any("long" in why for why in made.unjudged)


async def test_a_state_that_an_older_version_wrote_puts_a_difference_in_doubt():
    records, report = await carried()
    made = await compared(with_old_states(records), report)
    assert made.are_same
    assert any("was written in version 3" in why for why in made.unjudged)


async def test_a_report_of_a_slice_is_held_against_that_slice():
    plan = golden_records("demo")[:2]
    records = []
    for number in range(8):
        for record in plan:
            name = f"run-{number}"
            renamed = {n: v.replace(b"demo", name.encode()) for n, v in record.headers}
            value = record.value.replace(b'"demo', f'"{name}'.encode())
            changes = {"headers": tuple(renamed.items()), "value": value, "offset": len(records)}
            records.append(record.__class__(**{**record.__dict__, **changes}))
    reader = FreshReader(0, codec=CODEC, policy=NEAR, is_whole=True)
    for record in records:
        await reader.read(record)
    reader.has_ended()
    assert len(reader.ledger.runs) == 8
    reports = Reporting(0, every_s=30)
    reports._finer = 3
    reports.tend(reader.ledger)
    report = reports.latest
    assert report is not None
    assert 0 < report.runs < 8
    made = await compared(records, report)
    assert (made.are_same, made.unjudged) == (True, [])
    assert len(made.in_slice) == report.runs
    assert not (await compared(records, changed(report, slice=1))).are_same


async def test_headers_without_a_value_and_repeats_of_a_name_are_read_as_coordinators_do():
    records, report = await carried()
    strange = records[-1].__class__(
        **{
            **records[-1].__dict__,
            "offset": len(records),
            "headers": (("ce_type", b"starlings.run_done.v1"), ("ce_subject", None)),
            "value": b"",
        }
    )
    twice = records[-1].__class__(
        **{
            **strange.__dict__,
            "offset": len(records) + 1,
            "headers": (("ce_type", b"com.example.x"), ("ce_type", b"starlings.run_done.v1")),
        }
    )
    made = await compared([*records, strange, twice], changed(report, at=len(records) + 2))
    assert (made.are_same, made.unjudged) == (True, [])


def test_the_first_place_where_values_differ_is_named():
    one = {"steps": [{"id": "a", "output": 1}, {"id": "b"}], "owed": []}
    two = {"steps": [{"id": "a", "output": 2}, {"id": "b"}], "owed": []}
    assert first_difference(one, two) == ("steps[0].output", 1, 2)
    assert first_difference(one, None) == ("", one, None)
    assert first_difference([1], [1, 2], "x") == ("x", [1], [1, 2])
    assert first_difference({"a": 1}, {"a": 1}) == ("", {"a": 1}, {"a": 1})
