"""`starlings incident` and `events import` on files: what they say of what is there, and is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.golden.records import golden_records, write_archive
from support.incident_files import fact, of, wrote

from starlings.blobs import BlobStore
from starlings.messages import ConfigError, Topics
from starlings.replay import read_archive
from starlings.replay.importing import check_target, examine

PLAN = {"steps": [{"id": "s1", "agent": "math"}]}
LARGE = b'{"run_id":"r1","outcome":"completed","text":"' + b"x" * 300_000 + b'"}'


@pytest.fixture
def store(tmp_path, monkeypatch) -> BlobStore:
    url = (tmp_path / "blobs").as_uri()
    monkeypatch.setenv("STARLINGS_BLOBS_URL", url)
    return BlobStore(url)


async def _with_a_large_end(folder: Path, store: BlobStore, *, carried: bool) -> str:
    claim = await store.put(LARGE, summary="much")
    end = of(1, claim.model_dump(), kind="run_done", claimed=True)
    records = (fact("plan_created", plan=PLAN), end)
    return str(await wrote(folder, *records, store=store if carried else None))


@pytest.fixture
async def carrying(tmp_path, store) -> str:
    return await _with_a_large_end(tmp_path, store, carried=True)


@pytest.fixture
async def left(tmp_path, store) -> str:
    return await _with_a_large_end(tmp_path, store, carried=False)


def test_the_latest_run_of_a_file_may_be_meant_and_another_one_is_missed_there(starlings, tmp_path):
    path = str(write_archive(tmp_path / "log.jsonl", golden_records("demo")))
    argv = ("incident", "latest", "--from", path, "-o", "demo.jsonl", "--json")
    assert starlings(*argv) == 0, starlings.stderr
    assert starlings.document["run_id"] == "demo"
    assert starlings("incident", "nosuch", "--from", path, "-o", "no.jsonl") == 2
    assert f"there is no run 'nosuch' in {path}" in starlings.stderr


def test_an_incident_of_an_incident_has_the_values_that_it_carries(starlings, carrying, store):
    (Path(store.url.removeprefix("file://"))).rename("away")
    argv = ("incident", "r1", "--from", carrying, "--blobs", "-o", "again.jsonl", "--json")
    assert starlings(*argv) == 0, starlings.stderr
    told = starlings.document
    assert (told["blobs"], told["left"], told["ended"]) == (1, [], True)


def test_an_end_that_cannot_be_read_is_not_said_to_be_still_to_come(starlings, left, store):
    (Path(store.url.removeprefix("file://"))).rename("away")
    assert starlings("incident", "r1", "--from", left, "-o", "again.jsonl", "--json") == 0
    assert starlings.document["ended"] is True
    assert "the end of run r1 is one of these" in starlings.stderr
    assert "has not ended" not in starlings.stderr


def test_an_incident_is_imported_whole_although_it_is_of_one_run(carrying):
    assert examine(read_archive(carrying)).gaps == []
    head, _, *rest = Path(carrying).read_text().splitlines(keepends=True)
    end = json.dumps({"end": True, "records": 1}) + "\n"
    Path(carrying).write_text("".join([head, *rest[:-1], end]))
    assert examine(read_archive(carrying)).gaps == ["1 of 2 records of t.events"]


def test_a_prefix_that_kafka_forbids_is_blamed_on_the_option(carrying):
    archive = read_archive(carrying)
    with pytest.raises(ConfigError, match="--prefix 'a b' has characters that Kafka forbids"):
        check_target(archive, target="a b", live=Topics(), into_live=False)


def test_a_file_is_exported_only_to_where_one_can_be(starlings, carrying):
    assert starlings("events", "export", "--from", carrying, "-o", "nowhere/log.jsonl") == 2
    assert "there is no folder nowhere" in starlings.stderr
