"""Incidents as files: whole, readable by whatever reads archives, and damaged ones named."""

from __future__ import annotations

import json

import pytest
from aiokafka import ConsumerRecord
from support.incident_files import HEADERS, fact, of, wrote

from starlings.agents.call_record import digest_of
from starlings.blobs import BlobStore, Claim
from starlings.messages import UndecodableMessage
from starlings.replay import ArchiveDamaged, carried_blobs, read_archive
from starlings.replay.incident import IncidentUnusable, read_incident

LARGE = b'{"text":"' + b"x" * 300_000 + b'","password":"Tr0ub4dor&3"}'


async def test_what_was_written_is_read_back(tmp_path):
    path = await wrote(tmp_path, fact("plan_created"), fact("step_done", output=1))
    incident = read_incident(path)
    assert [record.offset for record in incident.records()] == [0, 1]
    assert (incident.header.run_id, incident.topics.prefix) == ("r1", "t.")
    assert incident.header.holds == {"t.events": 2}
    assert incident.header.schemas["step_done"] == 1
    assert len(list(read_archive(path))) == 2


async def test_large_values_come_along_without_secrets_and_under_their_new_hash(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(carried_blobs, "PIECE_BYTES", 70_000)
    store = BlobStore((tmp_path / "blobs").as_uri())
    claim = await store.put(LARGE, summary="much")
    nested = await store.put(b"PAR1\x00\xffTr0ub4dor&3", "application/vnd.apache.parquet")
    records = (
        of(0, claim.model_dump(), claimed=True),
        fact("step_done", output=[nested.model_dump()]),
    )
    path = await wrote(tmp_path, *records, store=store)
    incident = read_incident(path)
    assert incident.header.blobs == 2
    first, second = (json.loads(record.value) for record in incident.records())
    blobs = incident.blobs(tmp_path / "unpacked")
    value = json.loads(await blobs.get(Claim.model_validate(first)))
    assert value["password"] == "redacted-password-1"
    assert len(value["text"]) == 300_000
    table = Claim.model_validate(second["output"][0])
    assert await blobs.get(table) == b"PAR1\x00\xffredacted-password-1"
    await blobs.get_file(table, tmp_path / "table")
    assert (tmp_path / "table").read_bytes().startswith(b"PAR1")


async def test_a_value_that_was_not_taken_along_is_named_with_the_way_to_it(tmp_path):
    store = BlobStore((tmp_path / "blobs").as_uri())
    claim = await store.put(LARGE, summary="much")
    incident = read_incident(await wrote(tmp_path, of(0, claim.model_dump(), claimed=True)))
    (left,) = incident.header.left
    assert (left.uri, left.size_bytes, left.reason) == (claim.uri, len(LARGE), "not asked for")
    blobs = incident.blobs(tmp_path / "none")
    for fetching in (blobs.get(claim), blobs.get_file(claim, tmp_path / "x")):
        with pytest.raises(UndecodableMessage, match=r"does not carry.*much.*with --blobs while"):
            await fetching


async def test_recorded_calls_are_named_by_the_arguments_that_stand_there_now(tmp_path):
    calls = [{"tool": "ask", "args": {"api_key": "k-1-secret"}}, {"tool": "add", "args": {"a": 1}}]
    tools = {str(n): digest_of(call["tool"], call["args"]) for n, call in enumerate(calls)}
    kept = {"answers": {"0": 1, "1": 2}, "tools": tools}
    path = await wrote(tmp_path, fact("step_done", calls=calls, kept=kept))
    (record,) = read_incident(path).records()
    done = json.loads(record.value)
    assert done["calls"][0]["args"] == {"api_key": "redacted-api-key-1"}
    assert done["kept"]["tools"] == {
        str(n): digest_of(call["tool"], call["args"]) for n, call in enumerate(done["calls"])
    }


async def test_headers_keys_and_values_that_are_no_json_are_looked_through(tmp_path):
    headers = (*HEADERS, ("X-Api-Key", b"k-1-secret"), ("none", None), ("said", b"k-1-secret!"))
    letter = ConsumerRecord(
        topic="t.dead-letters", partition=0, offset=3, timestamp=1, timestamp_type=0,
        key=b"of k-1-secret", value=b'{"a":"sk-abcdefghijklmnop1234","a":"k-1-secret"',
        checksum=None,
        serialized_key_size=0, serialized_value_size=0, headers=headers,
    )  # fmt: skip
    twice = of(0, {}, raw=b'{"a":"sk-abcdefghijklmnop1234","a":1}')
    path = await wrote(tmp_path, letter, twice)
    assert "k-1-secret" not in path.read_text()
    assert "sk-abcdef" not in path.read_text()
    (found, other) = read_incident(path).records()
    assert dict(found.headers)["X-Api-Key"] == b"redacted-x-api-key-1"
    assert dict(found.headers)["none"] is None
    assert found.key == b"of redacted-x-api-key-1"
    assert other.value == b'{"a":1}'


def changed(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = change(lines) or lines
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


async def test_an_incident_of_another_major_version_is_refused_with_a_way_out(tmp_path):
    path = await wrote(tmp_path, fact("plan_created"))
    changed(path, lambda lines: lines[0].update(starlings_incident=2, starlings="9.1"))
    with pytest.raises(IncidentUnusable, match=r"version 2, .* reads version 1: .*\(9\.1\)"):
        read_incident(path)


async def test_a_log_that_is_no_incident_says_how_to_make_one_of_it(tmp_path):
    path = await wrote(tmp_path, fact("plan_created"))
    changed(path, lambda lines: lines[0].pop("starlings_incident") and None)
    with pytest.raises(IncidentUnusable, match="`starlings incident RUN -o FILE --from"):
        read_incident(path)


async def test_a_header_that_lacks_something_is_named(tmp_path):
    path = await wrote(tmp_path, fact("plan_created"))
    changed(path, lambda lines: lines[0].pop("run_id") and None)
    with pytest.raises(IncidentUnusable, match="run_id"):
        read_incident(path)


async def test_a_file_that_was_cut_off_and_one_with_a_gap_are_told_from_whole_ones(tmp_path):
    facts = [fact("plan_created"), fact("step_done"), fact("run_done")]
    path = await wrote(tmp_path, *facts)
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(ArchiveDamaged, match="cut off"):
        list(read_incident(path).records())
    path.write_text(whole)
    changed(path, lambda lines: [*lines[:2], *lines[3:-1], {"end": True, "records": 2}])
    with pytest.raises(IncidentUnusable, match=r"1 of 3 records of t\.events are missing"):
        list(read_incident(path).records())


async def test_records_that_stand_there_twice_count_once(tmp_path):
    path = await wrote(tmp_path, fact("plan_created"), fact("run_done"))
    changed(path, lambda x: [*x[:-1], x[1], x[2], {"end": True, "records": 4}])
    assert len(list(read_incident(path).records())) == 2


@pytest.mark.parametrize("change", [{"base64": "AAAA"}, {"base64": "?"}, {"sha256": "../x"}])
async def test_a_blob_that_is_damaged_is_named(tmp_path, change):
    store = BlobStore((tmp_path / "blobs").as_uri())
    claim = await store.put(LARGE)
    path = await wrote(tmp_path, of(0, claim.model_dump(), claimed=True), store=store)
    changed(path, lambda lines: lines[-2].update(change))
    with pytest.raises(ArchiveDamaged, match="blob"):
        read_incident(path).blobs(tmp_path / "unpacked")
