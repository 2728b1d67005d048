"""Recorded logs are decided as they were: a run may outlive many versions of this code."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden.replay import read_lines, record_of, replay
from support.golden.scenarios import SCENARIOS, record
from support.recovery.coordinator import fold_record

from starlings.choreography import Ledger

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(path.stem for path in LOGS.glob("*.jsonl") if path.stem != "altered")


def from_anchor(lines):
    """Find the last snapshot, and a reader that begins where that needs it."""
    snapshots = [line for line in lines if line["headers"]["ce_type"].endswith("run_snapshot.v1")]
    start = snapshots[-1]["value"]["as_of"] + 1
    return snapshots[-1]["offset"], start, Ledger(start=start)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_log_is_decided_as_it_was(name):
    assert replay(read_lines(LOGS / f"{name}.jsonl")) == []


def test_a_log_that_was_altered_fails():
    differences = replay(read_lines(LOGS / "altered.jsonl"))
    work = differences[0]
    for told, output in ((work.recorded, 50), (work.replayed, 51)):
        (release,) = told["decisions"]
        assert release["id"] == "demo/s3/1/step_ready"
        assert release["value"]["context"][0]["output"] == output


def test_every_story_has_been_recorded():
    assert set(SCENARIOS) == set(NAMES)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_story_told_today_replays_as_it_was_told(name):
    lines = record(name)
    assert lines
    assert replay(lines) == []


def test_a_reader_that_begins_at_a_snapshot_decides_all_that_follows_in_the_same_way():
    lines = read_lines(LOGS / "carried.jsonl")
    offset, start, ledger = from_anchor(lines)
    for line in lines[start : offset + 1]:
        fold_record(ledger, record_of(line))
    ledger.finish_recovery()
    rest = [line for line in lines[offset + 1 :] if line["headers"]["ce_subject"] == "long"]
    assert len(rest) >= 5
    assert replay(rest, ledger) == []
