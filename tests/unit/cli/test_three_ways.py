"""What `replay verify --rebuild` says, to people and to programs, and with which exit code."""

from __future__ import annotations

import json

import pytest
from aiokafka import TopicPartition

from starlings.choreography.state_hash import StateHash
from starlings.cli.exits import Exit
from starlings.cli.three_ways import SAME, print_rebuilt, verdict_of
from starlings.kafka.restore_point import StateReport
from starlings.replay.rebuilding import Rebuilt, RunDiffers, Way

HASH = "0123456789abcdef" * 2
REPORT = StateReport(
    at=120,
    restore_from=100,
    hash=HASH,
    runs=2,
    state_version=4,
    look_back_records=1,
    look_back_ms=1,
    carry_after_records=1,
)


def partition(number=0, report=REPORT, **more):
    found = StateHash(HASH, 2)
    place = TopicPartition("starlings.events", number)
    ways = {"from_start": Way(0, 120, found), "from_restore": Way(100, 20, found)}
    return Rebuilt(place, 120, **ways, report=report, **more)


OTHER = RunDiffers("r1", "steps[0].output", {"n": 1}, "\x1b[31m2")
DIFFERENT = partition(
    runs=[OTHER], differences=["the coordinator reports another"], in_slice=["r1"]
)
UNJUDGED = partition(report=None, unjudged=["the coordinator has reported no state yet"])


def said(capsys, *found, as_json=False):
    print_rebuilt(found, json=as_json)
    return capsys.readouterr().out


def test_one_state_is_said_to_be_one(capsys):
    text = said(capsys, partition(0), partition(1))
    assert SAME in text
    assert "2 partitions, 4 open runs, 240 records, 2 reports" in text
    assert "starlings.events/1 as of offset 120" in text
    assert text.count(HASH) == 6
    assert verdict_of([partition()]) is Exit.OK


def test_a_difference_is_told_with_both_sides_and_steers_no_terminal(capsys):
    text = said(capsys, partition(1), DIFFERENT)
    assert SAME not in text
    assert "not one state" in text
    assert "r1  steps[0].output" in text
    assert 'read from 0  {"n": 1}' in text
    assert "\x1b" not in text
    assert "it speaks of  r1" in text
    assert verdict_of([UNJUDGED, DIFFERENT]) is Exit.DIFFERENT


def test_what_cannot_be_judged_is_said_and_is_no_success(capsys):
    text = said(capsys, partition(1), UNJUDGED)
    assert "not judged: the coordinator has reported no state yet" in text
    assert "as far as can be told" in text
    assert SAME not in text
    assert verdict_of([UNJUDGED, partition()]) is Exit.FAILED


def test_a_slice_and_runs_that_are_too_long_are_named(capsys):
    report = REPORT.model_copy(update={"slice": 1, "slices": 4, "left_out": 1})
    text = said(capsys, partition(report=report, left_out=["r9"]))
    assert "slice 2 of 4: as the readers have it" in text
    assert "it leaves out  r9: too long" in text


def test_many_runs_are_cut_short_for_people_and_not_for_programs(capsys):
    runs = [OTHER._replace(run_id=f"r{n}") for n in range(30)]
    assert "and 10 more: --json lists them all" in said(capsys, partition(runs=runs))
    document = json.loads(said(capsys, partition(runs=runs), as_json=True))
    assert len(document["partitions"][0]["runs"]) == 30


@pytest.mark.parametrize(("found", "same"), [(partition(), True), (UNJUDGED, False)])
def test_the_document_holds_all_of_it(capsys, found, same):
    document = json.loads(said(capsys, found, as_json=True))
    assert document["same"] is same
    (one,) = document["partitions"]
    assert one["from_restore"] == {"start": 100, "records": 20, "hash": HASH, "runs": 2}
    assert (one["report"] or {}).get("hash") == (HASH if same else None)
    assert one["unjudged"] == found.unjudged
