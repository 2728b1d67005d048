"""The knowledge base on Kafka: each replica that reads builds the same store from the topic."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from support.services import Services
from support.waiting import wait_until

from starlings.client import Client
from starlings.kafka.admin import check_topics
from starlings.messages import RunOutcome
from starlings_agents.knowledge.settings import topics

pytestmark = pytest.mark.kafka

TEXTS = {
    f"d{n}": f"Document {n} tells of {word}." for n, word in enumerate(("owls", "swifts", "owls"))
}


async def ended(client: Client, plan: list[dict[str, Any]]) -> Any:
    done = await (await client.submit(plan=plan)).result(timeout_s=60)
    assert done.outcome is RunOutcome.COMPLETED, done.text
    return done.output


def asking(words: str, position: str) -> list[dict[str, Any]]:
    given = {"query": words, "at_least": position}
    return [{"id": "ask", "agent": "knowledge_query", "input": given}]


def documents(path: Path) -> set[str]:
    """Look into a store without changing it."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as store:
        tables = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'document'")
        if tables.fetchone() == (0,):
            return set()
        return {row[0] for row in store.execute("SELECT id FROM document")}


async def test_an_instance_that_nobody_asks_reads_on_by_itself(system):
    path = system.folder / "quiet.sqlite"
    reads = {"STARLINGS_KNOWLEDGE_STORE": str(path), "STARLINGS_KNOWLEDGE_FOLLOW_S": "0.2"}
    system.start("coordinator", "planner", "knowledge")
    system.start("knowledge_query", env=reads)
    async with system.client() as client:
        for name, text in TEXTS.items():
            args = {"document": name, "text": text}
            await ended(client, [{"id": "l", "agent": "knowledge", "tool": "learn", "args": args}])

    await wait_until(lambda: documents(path) == set(TEXTS), timeout_s=60, message="it has read all")


async def records(system: Services) -> int:
    """Count what lies on the topic, which the tests of this file share."""
    spec = system.topics.own_spec(topics()[0])
    async with system.connection().reading() as consumer:
        places = [TopicPartition(spec.name, n) for n in range(spec.partitions)]
        return sum((await consumer.end_offsets(places)).values())


async def test_what_was_learned_survives_the_store(system):
    reads = {"STARLINGS_KNOWLEDGE_STORE": str(system.folder / "one.sqlite")}
    system.start("coordinator", "planner", "knowledge")
    (one,) = system.start("knowledge_query", env=reads)
    documents = [{"document": name, "text": text} for name, text in TEXTS.items()]
    async with system.client() as client:
        await ended(client, asking("owls", ""))
        before = await records(system)
        learned = await ended(
            client,
            [
                {
                    "id": "l",
                    "agent": "knowledge",
                    "tool": "learn_many",
                    "args": {"documents": documents},
                }
            ],
        )
        first = await ended(client, asking("owls", learned["position"]))
        assert {p["document"] for p in first["passages"]} == {"d0", "d2"}
        assert first["lag"]["behind"] == 0

        forgotten = await ended(
            client,
            [{"id": "f", "agent": "knowledge", "tool": "forget", "args": {"document": "d2"}}],
        )
        second = await ended(client, asking("owls", forgotten["position"]))
        assert [p["document"] for p in second["passages"]] == ["d0"]

        system.kill(one)
        for file in system.folder.glob("one.sqlite*"):
            file.unlink()
        system.start("knowledge_query", env=reads)  # begins without a store
        assert await ended(client, asking("owls", forgotten["position"])) == second

    spec = system.topics.own_spec(topics()[0])
    await check_topics(system.connection(), [spec])  # compacted, as it has to be
    assert await records(system) == before + len(TEXTS) + 1
