"""A log as a file: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import json
import resource
from contextlib import contextmanager

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from starlings.messages import ConfigError
from starlings.replay import (
    ArchiveDamaged,
    ArchiveHeader,
    Range,
    create_archive,
    read_archive,
)
from starlings.replay.archive import line_of, record_of

HEADERS = (("ce_id", b"r1/s1/1/step_done"), ("ce_type", b"starlings.step_done.v1"))


def record(offset=0, value=b'{"run_id":"r1"}', key=b"r1", headers=HEADERS, partition=0):
    return ConsumerRecord(
        topic="starlings.events",
        partition=partition,
        offset=offset,
        timestamp=1_790_000_000_000 + offset,
        timestamp_type=-1,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=-1,
        serialized_value_size=-1,
        headers=headers,
    )


def archive(path, *records, header=None):
    with create_archive(path, header or ArchiveHeader(prefix="starlings.")) as writer:
        for one in records:
            writer.write(one)
    return read_archive(path)


@contextmanager
def at_most_bytes(size):
    """Let no file grow above a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def rewritten(path, change):
    """Change the lines of a file."""
    lines = change(path.read_text().splitlines(keepends=True))
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    "value",
    [
        b'{"run_id":"r1"}',
        b'{"n":' + b"9" * 4_000 + b"}",
        b'{"a": 1}',  # not as we would write it
        b'{"n":1.50}',
        b"1e999",
        b"null",
        b"just text",
        b'1,"value":2',
        b'1}\n{"topic":1',
        b"\xff\xfe",
        b"[" * 199 + b"]" * 199,
        b'{"a":1,"a":2}',
        b"",
        None,
    ],
)
def test_every_value_comes_back_byte_for_byte(tmp_path, value):
    (back,) = archive(tmp_path / "log.jsonl", record(value=value))
    assert back == record(value=value)


@given(
    value=st.none() | st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
    key=st.none() | st.binary(max_size=12),
    headers=st.lists(
        st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=12)), max_size=4
    ).map(tuple),
)
def test_whatever_lies_on_kafka_comes_back(value, key, headers):
    line = line_of(record(value=value, key=key, headers=headers))
    assert b"\n" not in line
    assert record_of(json.loads(line)) == record(value=value, key=key, headers=headers)


def test_values_that_are_json_can_be_read_as_they_stand(tmp_path):
    archive(tmp_path / "log.jsonl", record(value=b'{"step_id":"s1"}'))
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])
    assert line["value"] == {"step_id": "s1"}
    assert line["headers"]["ce_id"] == "r1/s1/1/step_done"


def test_a_header_tells_what_was_asked_for(tmp_path):
    asked = Range(topic="starlings.events", partition=0, begin=3, first=3, end=9)
    header = ArchiveHeader(prefix="starlings.", ranges=[asked])
    found = archive(tmp_path / "log.jsonl", record(4), header=header)
    assert found.header.ranges == [asked]
    assert asked.is_cut
    assert str(asked) == "starlings.events/0 3..8"


def test_a_name_that_ends_with_gz_is_compressed(tmp_path):
    path = tmp_path / "log.jsonl.gz"
    found = archive(path, record(0), record(1))
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert [one.offset for one in found] == [0, 1]


def test_a_place_where_no_file_can_be_made_is_named(tmp_path):
    path = tmp_path / "nowhere" / "log.jsonl"
    with pytest.raises(ConfigError, match=r"log\.jsonl cannot be written: No such file"):
        archive(path, record())


def test_a_folder_is_no_place_for_an_archive(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        archive(tmp_path, record())
    assert list(tmp_path.iterdir()) == []


def test_a_place_without_room_is_named(tmp_path):
    with at_most_bytes(4_096), pytest.raises(ConfigError, match=r"log\.jsonl .*; make room, or"):
        archive(tmp_path / "log.jsonl", record(value=b"x" * 100_000))
    assert list(tmp_path.iterdir()) == []


def test_what_fails_on_the_way_leaves_no_file(tmp_path):
    def fail_halfway():
        with create_archive(tmp_path / "log.jsonl", ArchiveHeader()) as writer:
            writer.write(record())
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []


def test_records_that_stand_there_twice_are_delivered_once(tmp_path):
    found = archive(tmp_path / "log.jsonl", *(record(n) for n in (0, 1, 2, 1, 2, 3)))
    assert [one.offset for one in found] == [0, 1, 2, 3]
    assert (found.repeated, found.gaps) == (2, [])


def test_gaps_are_told(tmp_path):
    found = archive(tmp_path / "log.jsonl", record(0), record(1), record(5))
    assert [one.offset for one in found] == [0, 1, 5]
    assert found.gaps == [(TopicPartition("starlings.events", 0), 2, 5)]


def test_attachments_are_no_records(tmp_path):
    path = tmp_path / "log.jsonl"
    with create_archive(path, ArchiveHeader()) as writer:
        writer.attach("agent", {"topic": "any", "name": "math"})
        writer.write(record())
    found = read_archive(path)
    assert len(list(found)) == 1
    assert [one["name"] for one in found.attachments("agent")] == ["math"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "line 3 is the last, and no end: the file was cut off"),
        (lambda lines: [*lines[:-2], lines[-2][:40]], "line 3 is no JSON: .*was cut off"),
        (lambda lines: [lines[0], *lines[2:]], "line 3 tells of 2 records, and 1 are there"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], "line 3 lies behind others of"),
        (lambda lines: [*lines, *lines], "line 5 follows the end"),
        (lambda lines: [lines[0], "[1]\n", *lines[1:]], "line 2 is no JSON object"),
        (lambda lines: [lines[0], '{"topic":"t"}\n', *lines[2:]], "line 2 is no record: KeyError"),
        (
            lambda lines: [lines[0], lines[1].replace('"offset":0', '"offset":"0"'), *lines[2:]],
            "line 2 is no record: TypeError",
        ),
        (lambda lines: lines[1:], "no log of Starlings: its first line has no `starlings_log`"),
        (lambda lines: ['{"starlings_log":2}\n', *lines[1:]], "version 2.* reads version 1"),
        (lambda lines: ['{"starlings_log":1,"ranges":3}\n', *lines[1:]], "line 1 is no header"),
        (lambda _lines: [], "is empty"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, change, said):
    path = tmp_path / "log.jsonl"
    archive(path, record(0), record(1))
    with pytest.raises(ArchiveDamaged, match=said):
        list(read_archive(rewritten(path, change)))


def test_a_compressed_file_that_was_cut_off_is_damaged(tmp_path):
    path = tmp_path / "log.jsonl.gz"
    archive(path, *(record(n) for n in range(2_000)))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ArchiveDamaged, match="is the last that can be read"):
        list(read_archive(path))


def test_a_file_that_claims_to_be_compressed_and_is_not(tmp_path):
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(b'{"starlings_log":1}\n')
    with pytest.raises(ArchiveDamaged, match="Not a gzipped file"):
        read_archive(path)
