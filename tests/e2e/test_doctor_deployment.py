"""`starlings doctor --deployment` on installations that are well, and on ones that are not."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.asking import SLOW, slow, with_agents
from support.waiting import wait_until

from starlings.kafka.admin import ensure_topics
from starlings.kafka.assignor import range_assignor
from starlings.kafka.letters_view import read_letters
from starlings.kafka.starting import start_client
from starlings.messages import Timeouts, TopicSpec

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def look(starlings, *options: str):
    """Look at the deployment; return the exit code, and what was found by what it is about."""
    looked = await starlings("doctor", "--deployment", *options, "--json")
    assert looked.code in (0, 1), looked.stderr
    found: dict[str, list[dict[str, str]]] = {}
    for finding in looked.document:
        found.setdefault(finding["what"], []).append(finding)
    return looked.code, found


def failed(found) -> set[str]:
    return {what for what, all_ in found.items() for f in all_ if f["verdict"] == "fail"}


async def test_an_installation_that_is_well_has_nothing_to_mend(services, starlings):
    services.start("coordinator", "planner", "math")
    async with services.client() as client:
        run = await client.submit("add 2 and 3")
        await run.result(timeout_s=60)

    code, found = await look(starlings)

    assert code == 0, found
    assert failed(found) == set()
    assert "math" in found["rights"][0]["said"]
    assert "1 member for 8 partitions" in found["group math"][0]["said"]
    assert found["versions"][0]["said"].endswith("everywhere")
    assert "0 open" in found["runs"][0]["said"]
    assert found["dead letters"][0]["said"] == "none is open"
    instances = found["clocks"][0]["said"]
    assert instances.startswith(("3 instances", "4 instances")), instances


async def test_one_without_services_is_told_to_start_them(services, starlings):
    code, found = await look(starlings)

    assert code == 1
    assert failed(found) == {"group planner", "group coordinator"}
    assert found["group coordinator"][0]["remedy"] == "start the coordinator"


async def test_a_run_whose_agent_is_gone_is_named_with_the_step_and_what_to_do(services, starlings):
    _, _, agent = services.start("coordinator", "planner", SLOW)
    async with services.client() as client:
        without = Timeouts(run_s=None)
        run = await client.submit(plan=[slow("endless", pause_s=600)], timeouts=without)
        await wait_until(lambda: with_agents(run), timeout_s=60, message="its agent has the step")
    services.kill(agent)
    code, found = await look(starlings, "--patience", "0.01")

    assert code == 1
    (stuck,) = found["runs"]
    assert run.run_id in stuck["said"]
    assert "no word of endless (slow), without a timeout" in stuck["said"]
    assert "start slow" in stuck["remedy"]


async def test_topics_that_differ_and_dead_letters_are_found_with_their_remedies(
    services, starlings
):
    services.start("coordinator", "planner")
    async with services.client() as client:
        producer = client.connection.producer()
        await start_client(producer)
        try:
            await producer.send_and_wait(services.topics.requests, b"{ no request", key=b"k")
        finally:
            await producer.stop()
        drifted = TopicSpec(services.topics.events, 1, {"retention.ms": "1000000"})
        await ensure_topics(client.connection, [drifted])

        async def buried() -> int:
            letters = await read_letters(client.connection, client.codec, services.topics)
            return letters.open

        await wait_until(buried, timeout_s=60, message="the request is in the dead letters")
    code, found = await look(starlings)

    assert code == 1
    assert failed(found) == {"topics", "dead letters"}
    assert "retention.ms is 1000000" in found["topics"][0]["said"]
    assert found["topics"][0]["remedy"] == "run `starlings topics ensure`"
    assert "1 wait for a decision" in found["dead letters"][0]["said"]


async def test_two_versions_side_by_side_and_a_wrong_clock_are_seen(services, starlings):
    services.start("coordinator", "planner")
    connection = services.connection()
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    headers = [
        ("ce_type", b"com.example.unknown"),
        ("ce_source", b"starlings/coordinator/fast-1"),
        ("ce_time", ahead.isoformat().encode()),
    ]
    producer = connection.producer()
    await start_client(producer)
    try:
        topic = services.topics.events
        await producer.send_and_wait(topic, b"{}", key=b"nobody", headers=headers)
    finally:
        await producer.stop()
    async with _member(services, "0.0.1"):
        code, found = await look(starlings)

    assert code == 1
    assert found["versions"][0]["verdict"] == "warn"
    assert "0.0.1: 1 (planner)" in found["versions"][0]["said"]
    (clock,) = found["clocks"]
    assert clock["verdict"] == "fail"
    assert clock["said"].startswith("coordinator/fast-1 is ")
    assert "ahead of the brokers" in clock["said"]


@asynccontextmanager
async def _member(services, version: str):
    """Have a member of another version in the planner's group."""
    topics = services.topics
    consumer = services.connection().consumer(
        topics.requests,
        group_id=topics.planner_group,
        partition_assignment_strategy=(range_assignor(version),),
    )
    await start_client(consumer)
    polling = asyncio.create_task(_poll(consumer))
    try:
        await wait_until(consumer.assignment, timeout_s=30, message="it is in the group")
        yield
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await consumer.stop()


async def _poll(consumer) -> None:
    while True:
        await consumer.getmany(timeout_ms=100)
