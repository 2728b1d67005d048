"""What cannot be judged is told, and bad logs make no differences."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.golden.altered import (
    foreign,
    in_place,
    numbered,
    of,
    others,
    with_fields,
    with_headers,
    with_value,
)
from support.golden.archives import CODEC, Records, verified
from support.golden.records import LOGS, TOPICS, golden_records, kafka_record
from support.golden.replay import read_lines

from starlings.kafka.codec import Codec
from starlings.replay.verify import verify


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
    gone = with_headers(with_fields(done, value=json.dumps(claim).encode()), starlings_claim="1")
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
    poisoned = with_fields(done, value=value)
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


async def test_only_runs_that_were_asked_for_are_judged():
    records = golden_records("cancel")
    found = await verified(records, runs=["cancel", "nobody"])
    assert found.counts.runs == 1
    assert found.unjudged == {"nobody": "nothing of it is in what was read"}


async def test_records_of_other_topics_are_passed_over():
    other = kafka_record(read_lines(LOGS / "demo.jsonl")[0], topic=TOPICS.requests)
    assert (await verified([*golden_records("demo"), other])).counts.records == 11
