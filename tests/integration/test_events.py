"""`starlings events` on a real Kafka: what is there is found, followed, kept, laid elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from support.command_line import CommandLine, command_line
from support.golden.records import golden_records, write_archive

from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import REPLAY_HEADER, TopicSpec
from starlings.replay import LogReader, ranges_of, read_archive

pytestmark = pytest.mark.kafka


@pytest.fixture
def starlings(monkeypatch, tmp_path, kafka, topics):
    """The command line, beside the Kafka of the tests; core topics are there."""
    for line in command_line(monkeypatch, tmp_path):
        monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka.bootstrap)
        monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", topics.prefix)
        assert line("topics", "ensure", "--replication", "1") == 0
        yield line


@pytest.fixture
def connection(kafka) -> Connection:
    return Connection(KafkaSettings(bootstrap=kafka.bootstrap), client_id="test")


@pytest.fixture
def lay(starlings, connection, topics):
    """Lay recorded logs on Kafka."""

    async def send(names):
        producer = connection.producer()
        await producer.start()
        try:
            for record in (record for name in names for record in golden_records(name)):
                await producer.send_and_wait(
                    topics.events, record.value, key=record.key, headers=list(record.headers)
                )
        finally:
            await producer.stop()

    return lambda *names: asyncio.run(send(names))


def lines(starlings: CommandLine):
    return [json.loads(line) for line in starlings.stdout.splitlines()]


def test_what_lies_on_kafka_is_listed_in_the_order_of_time_and_found_again(starlings, lay):
    lay("demo", "saga")
    assert starlings("events", "ls", "--json") == 0
    told = lines(starlings)
    times = [line["at"] for line in told]
    assert times == sorted(times)
    assert len(told) == len(golden_records("demo")) + len(golden_records("saga"))

    starlings("events", "ls", "--run", "saga", "--failed", "--json")
    assert [line["type"] for line in lines(starlings)][-1] == "run_done"

    place = told[3]
    where = f"{place['partition']}/{place['offset']}"
    assert starlings("events", "show", where, "--json") == 0
    assert starlings.document["id"] == place["id"]
    assert starlings("events", "show", place["id"], "--json") == 0
    assert starlings.document["fact"] == place["fact"]

    assert starlings("events", "show", "latest", "--timeline") == 0
    assert "critical path  flight" in starlings.stdout
    assert starlings("events", "show", "demo", "--tree", "--all-topics") == 0
    assert "● run_done" in starlings.stdout
    assert starlings("events", "ls", "--since", "1h", "--until", "0.001s", "--json") == 0
    assert lines(starlings) == told
    assert starlings("events", "ls", "--until", "1h") == 0
    assert "no such record" in starlings.stderr


def test_the_latest_records_are_listed_without_reading_those_before_them(starlings, lay):
    lay("demo", "saga")
    count = len(golden_records("demo")) + len(golden_records("saga"))
    assert starlings("events", "ls", "--json", "--limit", "3") == 0
    assert [line["run_id"] for line in lines(starlings)] == ["saga"] * 3
    assert f"and {count - 3} earlier ones" in starlings.stderr
    assert starlings("events", "ls", "--limit", "1") == 0
    assert "run_done" in starlings.stdout


def records_of(connection, topic):
    """Read all that lies on a topic, by key in its order."""

    async def read():
        reader = LogReader(connection, await ranges_of(connection, [topic]))
        by_key = {}
        async for record in reader.records():
            by_key.setdefault(record.key, []).append(record)
        return by_key

    return asyncio.run(read())


def test_tail_shows_what_lies_there_and_what_comes_then_ends_when_told(starlings, lay):
    lay("demo")
    many = len(golden_records("demo"))
    assert starlings("events", "tail", "--since", "1h", "--count", str(many), "--json") == 0
    assert [line["offset"] for line in lines(starlings)] == list(range(many))
    assert starlings("events", "tail", "--last", "3", "--count", "3") == 0
    assert "run_done" in starlings.stdout
    assert starlings("events", "tail", "--last", "1", "--count", "2", "--wait", "2s") == 5
    assert len(starlings.stdout.splitlines()) == 1


def test_tail_follows_live(starlings, lay, kafka, topics):
    env = {
        **os.environ,
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "STARLINGS_TOPIC_PREFIX": topics.prefix,
    }
    lay("saga")
    argv = ("events", "tail", "--last", "1", "--run", "demo", "--run", "saga", "--count", "6")
    with subprocess.Popen(
        [sys.executable, "-m", "starlings.cli", *argv, "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        try:
            assert json.loads(following.stdout.readline())["run_id"] == "saga"
            lay("demo")  # only now
            told = [json.loads(line) for line in following.stdout]
            assert following.wait(60) == 0
        finally:
            following.kill()
    assert told[0]["id"] == "demo/plan_created"
    assert len(told) == 5


def test_what_was_exported_is_laid_elsewhere_as_it_was_and_seen_there(
    starlings, lay, connection, topics, tmp_path, monkeypatch
):
    lay("demo", "saga", "foreach")
    path, prefix = str(tmp_path / "log.jsonl"), f"copy-{topics.prefix}"
    assert starlings("events", "export", "-o", path) == 0
    assert starlings("events", "import", path, "--prefix", prefix, "--dry-run", "--json") == 0
    assert starlings.document["topics"] == {topics.events: f"{prefix}events"}
    assert starlings("events", "import", path, "--prefix", prefix) == 0, starlings.stderr

    before = records_of(connection, topics.events)
    after = records_of(connection, f"{prefix}events")
    assert before.keys() == after.keys()
    for key, records in before.items():
        assert [r.value for r in after[key]] == [r.value for r in records]
        assert [r.timestamp for r in after[key]] == [r.timestamp for r in records]
        assert {r.partition for r in after[key]} == {r.partition for r in records}
        for old, new in zip(records, after[key], strict=True):
            assert new.headers[0] == (REPLAY_HEADER, b"import of " + key)
            assert new.headers[1:] == old.headers

    assert starlings("events", "import", path, "--prefix", prefix) == 2
    assert "is not empty" in starlings.stderr

    monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", prefix)
    assert starlings("show", "saga", "--json") == 0
    assert starlings.document["status"] == "compensated"
    assert starlings("events", "import", path, "--prefix", prefix) == 2
    assert f"{prefix!r} is the prefix of this installation" in starlings.stderr


def test_an_import_into_an_installation_needs_many_words(
    starlings, lay, connection, topics, tmp_path, monkeypatch
):
    lay("demo")
    path = str(tmp_path / "log.jsonl")
    starlings("events", "export", "-o", path)
    other = f"other-{topics.prefix}"
    monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", other)
    assert starlings("topics", "ensure", "--replication", "1") == 0
    monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", topics.prefix)
    assert starlings("events", "import", path, "--prefix", other) == 2
    assert "is that of an installation" in starlings.stderr
    assert records_of(connection, f"{other}events") == {}
    assert starlings("events", "import", path, "--prefix", other, "--into-live") == 0
    assert len(records_of(connection, f"{other}events")[b"demo"]) == len(golden_records("demo"))


def test_records_that_stand_twice_in_a_file_are_laid_once_and_snapshots_not_at_all(
    starlings, connection, topics, tmp_path
):
    records = golden_records("carried")
    path = write_archive(tmp_path / "twice.jsonl", records)
    head, *body, _ = path.read_text().splitlines(keepends=True)
    end = json.dumps({"end": True, "records": len(body) + 5})
    path.write_text("".join([head, *body, *body[:5], end, "\n"]))
    prefix = f"copy-{topics.prefix}"
    assert starlings("events", "import", str(path), "--prefix", prefix) == 0
    assert "5 records stand there twice" in starlings.stderr
    snapshots = sum(b"run_snapshot" in dict(r.headers)["ce_type"] for r in records)
    assert f"{snapshots} snapshots are left out" in starlings.stderr
    laid = records_of(connection, f"{prefix}events")
    assert sum(map(len, laid.values())) == len(records) - snapshots


def test_all_topics_of_a_run_are_exported_on_wish(starlings, lay, connection, topics, tmp_path):
    lay("demo")
    assert starlings("topics", "ensure", "--agent", "math", "--replication", "1") == 0

    async def send():
        producer = connection.producer()
        await producer.start()
        for run in ("demo", "other"):
            work = [("ce_subject", run.encode()), ("ce_type", b"starlings.step_ready.v1")]
            key = f"{run}/s1".encode()
            await producer.send_and_wait(topics.steps("math"), b"{}", key=key, headers=work)
            await producer.send_and_wait(topics.requests, run.encode(), key=run.encode())
            letter = [("ce_subject", run.encode()), ("starlings_error_code", b"bad_message")]
            await producer.send_and_wait(topics.dead_letters, b"{", headers=letter)
        await producer.stop()

    asyncio.run(send())
    path = str(tmp_path / "log.jsonl")
    assert starlings("events", "export", "--run", "demo", "--all-topics", "-o", path) == 0
    records = [r for r in read_archive(path) if r.topic != topics.events]
    assert {r.topic for r in records} == {
        topics.steps("math"),
        topics.requests,
        topics.dead_letters,
    }
    assert not any(b"other" in (r.key or b"") for r in records)
    assert starlings("events", "ls", "--from", path, "--failed") == 0
    assert "dead-letters/0/0" in starlings.stdout


def test_what_retention_has_deleted_is_told_with_where_the_log_is_complete(
    starlings, lay, connection, topics
):
    lay("demo")
    assert starlings("events", "ls", "--json") == 0
    partition = lines(starlings)[0]["partition"]

    async def delete():
        async with connection.administering() as admin:
            place = TopicPartition(topics.events, partition)
            await admin.delete_records({place: RecordsToDelete(before_offset=4)})

    asyncio.run(delete())
    complete = f"{topics.events}/{partition} from offset 4"
    assert starlings("events", "show", "demo") == 0
    assert complete in starlings.stderr
    assert "--from FILE" in starlings.stderr
    assert starlings("events", "ls", "--since", "1d") == 0
    assert complete in starlings.stderr
    assert starlings("events", "show", f"{partition}/1") == 2
    assert complete in starlings.stderr
    assert starlings("events", "ls", "--offsets", "4..") == 0


def test_an_import_that_a_broker_refuses_says_how_much_was_written(
    starlings, connection, topics, tmp_path
):
    prefix = f"copy-{topics.prefix}"
    spec = TopicSpec(f"{prefix}events", 1, {"max.message.bytes": "5000"})
    asyncio.run(ensure_topics(connection, [spec], replication=1))
    small, large = golden_records("demo")[:2]
    large.value = b'"' + os.urandom(20_000).hex().encode() + b'"'
    path = write_archive(tmp_path / "large.jsonl", [small, large])
    assert starlings("events", "import", str(path), "--prefix", prefix) == 1
    assert "records of" in starlings.stderr
    assert "is larger than Kafka takes" in starlings.stderr
