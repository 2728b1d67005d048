"""Sensors on a real Kafka: no event is missed between two pokes, whoever makes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.agents import ready

from starlings import StepContext
from starlings.agents.waiting import Look
from starlings.kafka.admin import ensure_topics
from starlings.kafka.publisher import Publisher
from starlings.messages import RunDone, RunOutcome, message_id, run_key
from starlings_agents import sensor_events
from starlings_agents.sensor import agent

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def settings(plain_site, monkeypatch) -> Iterator[None]:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", plain_site.settings.bootstrap)
    monkeypatch.setenv("STARLINGS_TOPIC_PREFIX", plain_site.topics.prefix)
    monkeypatch.setenv("STARLINGS_BLOBS_URL", plain_site.blobs.url)
    sensor_events._connection.cache_clear()
    yield
    sensor_events._connection.cache_clear()


@pytest.fixture
async def publisher(plain_site, publisher_at) -> Publisher:
    return await publisher_at(plain_site)


def ctx() -> StepContext:
    return StepContext(run_id="r1", step_id="s1", attempt=1, agent="sensor")


async def begin(condition: dict[str, Any]) -> Look:
    return await agent.begin(ready(agent="sensor", task="", input=condition), ctx())


async def poke(look: Look) -> Look:
    assert not look.ended
    return await agent.look(look.handle, ctx())


async def send(publisher: Publisher, topic: str, value: Any, **more: Any) -> None:
    given = {"key": None, "headers": [], "partition": None} | more
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    await publisher.forward(topic, given["key"], data, headers=given["headers"],
                            partition=given["partition"])  # fmt: skip


async def test_no_event_is_missed_between_two_pokes(plain_site, publisher):
    topic = await plain_site.create("orders", partitions=3)
    await send(publisher, topic, {"id": 7}, partition=0)  # before the step began
    waiting = await begin({"wait_for": "event", "topic": topic, "where": {"/id": 7}})

    for partition in range(3):
        await send(publisher, topic, {"id": 1}, partition=partition)
    waiting = await poke(waiting)
    assert waiting.trouble is None
    await send(publisher, topic, {"id": 7}, partition=2)
    await send(publisher, topic, {"id": 8}, partition=2)
    seen = await poke(waiting)
    again = await poke(waiting)  # as another instance would, from the state that was kept

    assert seen.status.output == again.status.output
    assert seen.status.output["value"] == {"id": 7}
    assert (seen.status.output["partition"], seen.status.output["offset"]) == (2, 1)


async def test_all_that_is_given_has_to_fit(plain_site, publisher):
    topic = await plain_site.create("mixed")
    condition = {
        "wait_for": "event",
        "topic": topic,
        "from": "earliest",
        "key": "k",
        "headers": {"kind": "good"},
        "where": {"/ok": True},
    }
    good = [("kind", b"good")]
    await send(publisher, topic, b"\xff no json", key=b"k", headers=good)
    await send(publisher, topic, {"ok": 1}, key=b"k", headers=good)
    await send(publisher, topic, {"ok": True}, key=b"other", headers=good)
    await send(publisher, topic, {"ok": True}, key=b"k", headers=[("kind", b"bad")])
    await publisher.forward(topic, b"k", None, headers=good)
    waiting = await begin(condition)
    await send(publisher, topic, {"ok": True}, key=b"k", headers=good)

    assert (await poke(waiting)).status.output["offset"] == 5


async def test_what_has_happened_already_is_seen_at_once_where_asked_for(plain_site, publisher):
    topic = await plain_site.create("past")
    await send(publisher, topic, {"n": 1})

    look = await begin({"wait_for": "event", "topic": topic, "from": "2020-01-01T00:00:00Z"})

    assert look.status.output["value"] == {"n": 1}


async def test_a_topic_that_is_missing_fails_the_step(plain_site):
    look = await begin({"wait_for": "event", "topic": f"{plain_site.topics.prefix}nothing"})

    assert look.ended
    assert "is missing" in look.status.error.message


async def test_the_end_of_another_run_is_waited_for(plain_site, publisher):
    topics = plain_site.topics
    await ensure_topics(plain_site.connection, topics.core_specs(partitions=3), replication=1)

    async def end(run_id: str, outcome: RunOutcome, generation: int = 0) -> None:
        done = RunDone(run_id=run_id, outcome=outcome, output=generation, generation=generation)
        ident = message_id(run_id, f"{done.NAME}{generation}")
        await publisher.publish(topics.events, run_key(run_id), done, id=ident, subject=run_id)

    any_end = await begin({"wait_for": "run", "run_id": "r7"})
    good_end = await begin({"wait_for": "run", "run_id": "r7", "outcomes": ["completed"]})
    await asyncio.gather(*(end(f"other{n}", RunOutcome.COMPLETED) for n in range(20)))
    await end("r7", RunOutcome.FAILED)
    assert (await poke(any_end)).status.output["outcome"] == "failed"
    good_end = await poke(good_end)
    await end("r7", RunOutcome.COMPLETED, generation=1)  # somebody had it tried again

    assert (await poke(good_end)).status.output["output"] == 1
