"""Recorded runs are the same, or the first difference of each is told; bad logs make none."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.golden.archives import CODEC, Records, verified
from support.golden.records import LOGS, TOPICS, golden_records, kafka_record
from support.golden.replay import read_lines
from support.golden.scenarios import SCENARIOS

from starlings.kafka.codec import Codec
from starlings.replay.verify import verify

STORIES = sorted(SCENARIOS)


def of(records: list[Any], ident: str) -> Any:
    """Find the record of an id."""
    return next(record for record in records if dict(record.headers)["ce_id"] == ident.encode())


def numbered(records: list[Any]) -> list[Any]:
    """Give records the offsets of a log without gaps."""
    return [record.__class__(**fields(record, offset=n)) for n, record in enumerate(records)]


def fields(record: Any, **changes: Any) -> dict[str, Any]:
    return {**record.__dict__, **changes}


def with_value(record: Any, **changes: Any) -> Any:
    value = json.loads(record.value)
    value.update(changes)
    return record.__class__(**fields(record, value=json.dumps(value).encode()))


def without_field(record: Any, name: str) -> Any:
    value = json.loads(record.value)
    value.pop(name, None)
    return record.__class__(**fields(record, value=json.dumps(value).encode()))


def with_headers(record: Any, **changes: str) -> Any:
    headers = dict(record.headers) | {name: value.encode() for name, value in changes.items()}
    return record.__class__(**fields(record, headers=tuple(headers.items())))


def in_place(records: list[Any], changed: Any) -> list[Any]:
    """Put a changed record where it belongs."""
    return [changed if record.offset == changed.offset else record for record in records]


def later(records: list[Any], ident: str) -> list[Any]:
    """Let a record come last."""
    moved = of(records, ident)
    return numbered([r for r in records if r is not moved] + [moved])


def is_published(record: Any) -> bool:
    """Tell whether a record is of a coordinator: words of people count each time."""
    kind = dict(record.headers)["ce_type"].decode().split(".")[1]
    return kind.endswith(("_scheduled", "_skipped", "_fired", "_abandoned", "run_done", "_amended"))


def foreign(value: bytes, *, key: bytes = b"demo", **headers: str) -> Any:
    named = tuple((name, text.encode()) for name, text in headers.items())
    line = read_lines(LOGS / "demo.jsonl")[0]
    return kafka_record(line, value=value, key=key, headers=named)


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
    assert (await verified(in_place(records, end.__class__(**fields(end, value=turned))))).are_same


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


# -- what cannot be judged -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demo", "conditions", "saga", "retry", "amended", "foreach"])
async def test_a_gap_is_never_taken_for_a_difference(name):
    records = golden_records(name)
    for gone in range(1, len(records) - 1):
        found = await verified([r for r in records if r.offset != gone])
        assert found.differences == []
        assert found.counts.gaps == 1
        whys = (f"offsets {gone} to {gone}", "its beginning is not in what was read")
        assert all(why.startswith(whys) for why in found.unjudged.values())


async def test_a_range_that_stands_there_twice_counts_once():
    records = golden_records("demo")
    found = await verified([*records[:8], *records[3:8], *records[8:]])
    assert found.are_same
    assert found.counts.repeated == 5
    assert found.counts.records == len(records)


async def test_foreign_messages_are_passed_over():
    records = golden_records("demo")
    strange = [
        foreign(b"\xff\xfe"),
        foreign(b"not json", ce_type="starlings.step_done.v1", ce_id="x", ce_subject="demo"),
        foreign(b'{"type": "greeting"}'),
        foreign(b"{}", ce_type="com.example.other", ce_id="1", ce_subject="demo"),
        foreign(b"", ce_type="starlings.run_done.v1"),
        foreign(
            json.dumps({"run_id": "demo", "step_id": "s9", "agent": "a", "attempt": 1}).encode(),
            ce_type="starlings.compensation_scheduled.v1",
            ce_id="by-hand",
            ce_subject="demo",
        ),
    ]
    found = await verified(numbered([x for r in records for x in (*strange, r)]))
    assert (found.differences, found.unjudged) == ([], {})
    assert found.counts.foreign >= len(records)


async def test_a_fact_of_a_newer_version_puts_what_follows_in_doubt():
    records = golden_records("demo")
    for record in records:
        if dict(record.headers)["ce_id"] == b"demo/s1/1/step_done":
            newer = with_headers(record, ce_type="starlings.step_done.v9")
            records = in_place(records, newer)
    found = await verified(records)
    assert found.differences == []
    assert "is not known to this version" in found.unjudged["demo"]


async def test_a_value_that_is_gone_from_the_blob_store_puts_what_follows_in_doubt():
    records = golden_records("demo")
    done = of(records, "demo/s1/1/step_done")
    claim = {"uri": "blob:gone", "sha256": "0" * 64, "size_bytes": 1, "media_type": "x/y"}
    gone = with_headers(
        done.__class__(**fields(done, value=json.dumps(claim).encode())), starlings_claim="1"
    )
    rest = [
        r for r in in_place(records, gone) if dict(r.headers)["ce_id"] != b"demo/s1/1/step_done"
    ]
    rest = sorted([*rest, gone], key=lambda r: r.offset)
    found = await verified(numbered(rest))
    assert found.differences == []
    assert "demo" in found.unjudged
    assert "offset" in found.unjudged["demo"]


async def test_a_run_whose_beginning_is_gone_is_judged_from_its_snapshot():
    records = golden_records("carried")
    snapshot = next(r for r in records if b"run_snapshot" in dict(r.headers)["ce_type"])
    as_of = json.loads(snapshot.value)["as_of"]
    found = await verified(records[as_of + 1 :], begin=as_of + 1, runs=["long"])
    assert (found.differences, found.unjudged) == ([], {})
    assert found.since == {"long": snapshot.offset}
    end = of(records, "long/run_done")
    altered = in_place(records, with_value(end, text="another"))
    found = await verified(altered[as_of + 1 :], begin=as_of + 1)
    assert [difference.path for difference in found.differences] == ["text"]


async def test_a_snapshot_of_another_version_cannot_be_judged():
    records = golden_records("carried")
    for record in records:
        if b"run_snapshot" in dict(record.headers)["ce_type"]:
            state = {**json.loads(record.value)["state"], "version": 1}
            records = in_place(records, with_value(record, state=state))
    snapshot = next(r for r in records if b"run_snapshot" in dict(r.headers)["ce_type"])
    as_of = json.loads(snapshot.value)["as_of"]
    found = await verified(records[as_of + 1 :], begin=as_of + 1, runs=["long"])
    assert found.differences == []
    assert "state version 1" in found.unjudged["long"]


async def test_a_state_that_a_retry_brings_along_and_nobody_can_read_cannot_be_judged():
    records = golden_records("reopened")
    (retry,) = [r for r in records if b"retry_requested" in dict(r.headers)["ce_type"]]
    state = {**json.loads(retry.value)["state"], "version": 1}
    records = in_place(records, with_value(retry, state=state))
    found = await verified(records)
    assert found.differences == []
    assert "state version 1" in found.unjudged["reopened"]
    assert f"at offset {retry.offset}: " in found.unjudged["reopened"]
    ignored = await verified(records[: retry.offset + 1])  # by the coordinator of then as well
    assert (ignored.differences, ignored.unjudged) == ([], {})


class Poisoning(Codec):
    """A codec by which the core gets a fact on which it breaks."""

    async def decode(self, record: Any, *, default: Any = None) -> Any:
        received = await super().decode(record, default=default)
        fact = received.message.model_copy(update={"amendment": object()})
        return dataclasses.replace(received, message=fact)


async def test_a_run_that_today_s_core_cannot_fold_is_a_difference():
    records = golden_records("demo")
    done = of(records, "demo/s1/1/step_done")
    value = done.value.replace(b"{", b"{ ", 1)[:-1] + b',"note":"NaN"}'  # read by the codec
    poisoned = done.__class__(**fields(done, value=value))
    found = await verify(
        Records([*in_place(records, poisoned), *others(records)]),
        topics=TOPICS,
        codec=Poisoning(source="test", blobs=CODEC._blobs),
    )
    assert found.unjudged == {}
    (difference,) = found.differences
    assert (difference.run_id, difference.offset) == ("demo", done.offset)
    assert difference.what.startswith("the core cannot fold it: ")
    assert found.counts.same == 1  # the other run goes on


def others(records: list[Any]) -> list[Any]:
    """Let another run have the same story after it."""
    made = []
    for record in records:
        headers = {name: value.replace(b"demo", b"other") for name, value in record.headers}
        value = record.value.replace(b'"demo', b'"other')
        offset = record.offset + len(records)
        changes = {"value": value, "headers": tuple(headers.items()), "offset": offset}
        made.append(record.__class__(**fields(record, **changes)))
    return made


async def test_only_runs_that_were_asked_for_are_judged():
    records = golden_records("cancel")
    found = await verified(records, runs=["cancel", "nobody"])
    assert found.counts.runs == 1
    assert found.unjudged == {"nobody": "nothing of it is in what was read"}


async def test_records_of_other_topics_are_passed_over():
    other = kafka_record(read_lines(LOGS / "demo.jsonl")[0], topic=TOPICS.requests)
    assert (await verified([*golden_records("demo"), other])).counts.records == 11
