"""What commits of coordinators say: reports come back as they were, and disturb no older reader."""

from __future__ import annotations

import json

import pytest

from starlings.kafka.restore_point import (
    StateReport,
    read_metadata,
    read_report,
    write_metadata,
)

MOST = 4_096  # characters that a broker takes
REPORT = StateReport(
    at=120,
    restore_from=100,
    hash="0123456789abcdef" * 2,
    runs=3,
    left_out=1,
    slice=1,
    slices=4,
    state_version=4,
    look_back_records=1_000,
    look_back_ms=60_000,
    carry_after_records=2_000,
)


def altered(**changes: object) -> str:
    told = json.loads(write_metadata(7, REPORT))
    told["state"].update(changes)
    return json.dumps(told)


def test_a_report_comes_back_as_it_was():
    written = write_metadata(7, REPORT)
    assert read_report(written) == REPORT
    assert read_metadata(written) == 7


def test_a_reader_that_knows_of_no_reports_finds_what_it_knew():
    told = json.loads(write_metadata(7, REPORT))
    assert told["v"] == 1
    assert told["restore_from"] == 7
    assert write_metadata(7) == '{"v": 1, "restore_from": 7}'


@pytest.mark.parametrize(
    "older", ["", None, "not ours", "7", "[]", "null", '{"v": 1, "restore_from": 7}']
)
def test_metadata_without_a_report_has_none(older):
    assert read_report(older) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"at": -1},
        {"at": "120"},
        {"at": True},
        {"at": 1 << 70},
        {"hash": "0x"},
        {"hash": None},
        {"slices": 0},
        {"slice": 4},
        {"runs": 1.5},
    ],
    ids=str,
)
def test_a_report_that_makes_no_sense_is_none_and_the_rest_is_read(changes):
    assert read_report(altered(**changes)) is None
    assert read_metadata(altered(**changes)) == 7


def test_a_report_of_a_newer_version_is_read_as_far_as_it_is_known():
    assert read_report(altered(more=[1, 2])) == REPORT


def test_the_largest_report_fits_into_the_metadata_of_a_commit():
    most = (1 << 53) - 1
    names = set(StateReport.model_fields) - {"hash", "at", "restore_from", "slice"}
    offsets = {"at": (1 << 63) - 1, "restore_from": (1 << 63) - 1, "slice": most - 1}
    largest = StateReport(hash="f" * 32, **dict.fromkeys(names, most), **offsets)
    assert len(write_metadata((1 << 63) - 1, largest)) < MOST / 4
