"""The knowledge base on Kafka: each replica that reads builds the same store from the topic."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

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


async def test_what_was_learned_survives_the_store(system):
    reads = {"STARLINGS_KNOWLEDGE_STORE": str(system.folder / "one.sqlite")}
    system.start("coordinator", "planner", "knowledge")
    (one,) = system.start("knowledge_query", env=reads)
    documents = [{"document": name, "text": text} for name, text in TEXTS.items()]
    async with system.client() as client:
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
    async with system.connection().reading() as consumer:
        places = [TopicPartition(spec.name, n) for n in range(spec.partitions)]
        assert sum((await consumer.end_offsets(places)).values()) == len(TEXTS) + 1
