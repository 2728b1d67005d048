"""Recorded runs are the same, or the first difference of each is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.golden.altered import (
    in_place,
    is_published,
    later,
    numbered,
    of,
    with_fields,
    with_headers,
    with_value,
    without_field,
)
from support.golden.archives import verified
from support.golden.records import LOGS, golden_records, kafka_record
from support.golden.replay import read_lines
from support.golden.scenarios import SCENARIOS

STORIES = sorted(SCENARIOS)


# -- the same --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORIES)
async def test_a_log_that_ends_anywhere_has_no_difference(name):
    records = golden_records(name)
    for end in range(1, len(records) + 1):
        found = await verified(records[:end])
        assert (found.differences, found.unjudged) == ([], {})


@pytest.mark.parametrize("name", STORIES)
async def test_a_log_that_begins_anywhere_has_no_difference(name):
    records = golden_records(name)
    for first in range(len(records)):
        assert (await verified(records[first:], begin=first)).differences == []


@pytest.mark.parametrize("name", STORIES)
async def test_a_log_in_which_everything_was_published_twice_has_no_difference(name):
    records = golden_records(name)
    again = [record for record in records if is_published(record)]
    found = await verified(numbered([*records, *again]))
    assert (found.differences, found.unjudged) == ([], {})
    twice = [r for record in records for r in [record] * (2 if is_published(record) else 1)]
    found = await verified(numbered(twice))
    assert (found.differences, found.unjudged) == ([], {})


async def test_what_is_published_late_is_no_difference():
    found = await verified(later(golden_records("conditions"), "conditions/many/step_skipped"))
    assert (found.differences, found.unjudged) == ([], {})


async def test_fields_that_an_older_version_did_not_know_are_no_difference():
    records = golden_records("demo")
    for name in ("output", "steps", "duration_s"):
        old = without_field(of(records, "demo/run_done"), name)
        assert (await verified(in_place(records, old))).are_same


async def test_an_end_that_was_too_large_for_its_outputs_is_no_difference():
    records = golden_records("demo")
    end = of(records, "demo/run_done")
    steps = [{**s, "summary": None, "output": None} for s in json.loads(end.value)["steps"]]
    error = {"code": "message_too_large", "message": "the outputs are left out"}
    bare = with_value(end, text="", output=None, steps=steps, error=error)
    assert (await verified(in_place(records, bare))).are_same
    other = with_value(bare, outcome="partial")
    assert not (await verified(in_place(records, other))).are_same


# -- the first difference --------------------------------------------------------------------------


async def only_difference(records: list[Any], **asked: Any) -> Any:
    found = await verified(records, **asked)
    assert found.unjudged == {}
    (difference,) = found.differences
    return difference


async def test_an_altered_result_is_found_where_it_was_built_upon():
    difference = await only_difference(golden_records("altered"))
    assert (difference.offset, difference.id) == (9, "demo/run_done")
    assert difference.path == "text"
    assert "math: 50" in difference.published
    assert "math: 51" in difference.owed


@pytest.mark.parametrize(
    ("name", "ident", "changes", "path"),
    [
        ("demo", "demo/s3/1/step_scheduled", {"agent": "string"}, "agent"),
        ("demo", "demo/s3/1/step_scheduled", {"variant": "large"}, "variant"),
        ("conditions", "conditions/many/step_skipped", {"reason": "so"}, "reason"),
        ("conditions", "conditions/run_done", {"outcome": "partial"}, "outcome"),
        ("saga", "saga/car/1/compensation_scheduled/1", {"agent": "bank"}, "agent"),
        ("abandoned", "abandoned/car/1/compensation_abandoned/1", {"error": None}, "error"),
        ("asking", "asking/ok/1/approval_requested", {"context": []}, "context"),
    ],
)
async def test_what_was_published_otherwise_is_told_with_both_sides(name, ident, changes, path):
    records = golden_records(name)
    changed = with_value(of(records, ident), **changes)
    if changes == {"error": None}:
        changed = with_value(changed, error={"code": "x", "message": "y"})
    difference = await only_difference(in_place(records, changed))
    assert difference.offset == changed.offset
    assert difference.path.split(".")[0] == path
    assert difference.published != difference.owed


async def test_values_of_other_types_differ_though_they_are_equal_to_python():
    records = golden_records("conditions")
    end = of(records, "conditions/run_done")
    steps = json.loads(end.value)["steps"]
    steps[0]["output"] = 2.0
    difference = await only_difference(in_place(records, with_value(end, steps=steps)))
    assert difference.path == "steps[0].output"


async def test_the_order_of_keys_in_an_output_is_no_difference():
    records = golden_records("saga")
    end = of(records, "saga/run_done")
    turned = json.dumps(dict(reversed(json.loads(end.value).items()))).encode()
    assert (await verified(in_place(records, with_fields(end, value=turned)))).are_same


async def test_what_is_owed_and_was_never_published_is_told():
    lines = [
        r
        for r in golden_records("conditions")
        if b"many/step_skipped" not in dict(r.headers)["ce_id"]
    ]
    difference = await only_difference(numbered(lines), tail_ms=0)
    assert difference.id == "conditions/many/step_skipped"
    assert "never published" in difference.what
    assert difference.owed["step_id"] == "many"


async def test_what_is_owed_lately_may_be_on_its_way():
    lines = [
        r
        for r in golden_records("conditions")
        if b"many/step_skipped" not in dict(r.headers)["ce_id"]
    ]
    assert (await verified(numbered(lines), tail_ms=60_000)).are_same


async def test_what_was_published_and_not_owed_is_told():
    records = golden_records("demo")
    odd = with_headers(of(records, "demo/s3/1/step_scheduled"), ce_id="demo/s3/7/step_scheduled")
    difference = await only_difference(in_place(records, odd))
    assert "not owed" in difference.what
    assert difference.id == "demo/s3/7/step_scheduled"


async def test_a_timer_that_was_set_to_another_time_is_told():
    records = golden_records("retry")
    timer = next(r for r in records if b"/timer_fired/" in dict(r.headers)["ce_id"])
    due_ms = json.loads(timer.value)["due_ms"]
    ident = dict(timer.headers)["ce_id"].decode().replace(str(due_ms), str(due_ms - 9))
    odd = with_headers(with_value(timer, due_ms=due_ms - 9), ce_id=ident)
    difference = await only_difference(in_place(records, odd))
    assert (difference.path, difference.published, difference.owed) == (
        "due_ms",
        due_ms - 9,
        due_ms,
    )


async def test_a_timer_that_never_fired_is_told():
    first = golden_records("retry")[:2]
    late = kafka_record(
        read_lines(LOGS / "demo.jsonl")[0], offset=2, timestamp=first[0].timestamp + 10**10
    )
    differences = (await verified([*first, late])).differences
    assert [d.run_id for d in differences] == ["retry"]
    assert any(words in differences[0].what for words in ("never fired", "never published"))


async def test_work_that_was_never_decided_is_told_by_what_came_of_it():
    records = golden_records("demo")
    done = with_headers(of(records, "demo/s1/1/step_done"), ce_causationid="demo/s1/4/step_ready")
    difference = await only_difference(in_place(records, done))
    assert "demo/s1/4/step_ready" in difference.what
    right = with_headers(done, ce_causationid="demo/s1/1/step_ready")
    assert (await verified(in_place(records, right))).are_same


async def test_each_run_is_told_once_with_its_first_difference():
    records = golden_records("demo")
    for ident in ("demo/s3/1/step_scheduled", "demo/run_done"):
        records = in_place(
            records, with_value(of(records, ident), run_id="demo", agent="x", text="x")
        )
    difference = await only_difference(records)
    assert difference.id == "demo/s3/1/step_ready"
