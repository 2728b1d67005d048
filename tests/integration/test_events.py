"""`starlings events` on a real Kafka: what is there is found, followed, kept, laid elsewhere."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.command_line import CommandLine, command_line
from support.golden.records import golden_records

from starlings.kafka.connection import Connection, KafkaSettings

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
