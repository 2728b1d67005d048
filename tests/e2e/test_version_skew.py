"""Services of this version beside those of the next and of the one before, on one installation.

The other version is played by what it would publish: fields, headers, types and versions of types
that this one does not know, and messages that lack everything but what they must have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.asking import facts_of

from starlings.kafka.letters_view import read_letters
from starlings.kafka.starting import start_client
from starlings.messages import (
    RunOutcome,
    RunRequested,
    StepDone,
    StepReady,
    message_id,
    run_key,
    step_key,
)

pytestmark = pytest.mark.kafka

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "demo.jsonl"
LATER: Mapping[str, Any] = {"comes_with_a_later_version": {"deep": [1, {"x": None}]}}
UNKNOWN = ("starlings.step_dreamt.v1", "starlings.step_done.v2", "starlings.step_ready.v2")


def headers(kind: str, ident: str, run_id: str) -> list[tuple[str, bytes]]:
    said = {"ce_specversion": "1.0", "ce_type": kind, "ce_id": ident, "ce_subject": run_id}
    return [(name, text.encode()) for name, text in said.items()] + [("comes_later", b"\xff")]


async def publish(services, records: Sequence[tuple[str, bytes, Any, list[tuple[str, bytes]]]]):
    producer = services.connection().producer()
    await start_client(producer)
    try:
        for topic, key, value, said in records:
            await producer.send_and_wait(topic, json.dumps(value).encode(), key=key, headers=said)
    finally:
        await producer.stop()


async def test_what_the_next_version_publishes_harms_no_service_and_is_understood_as_far_as_known(
    services,
):
    names = services.start("coordinator", "planner", "math", "string")
    topics, run_id = services.topics, "later"
    everywhere = [topics.requests, topics.events, topics.agents, topics.control]
    everywhere += [topics.steps("math"), topics.checkpoints("math")]
    strange = [
        (topic, b"later/s1", {"run_id": run_id, **LATER}, headers(kind, f"{kind}/{topic}", run_id))
        for topic in everywhere
        for kind in UNKNOWN
    ]
    asked = {"request": "add 2 and 3", "run_id": run_id, **LATER}
    ident = message_id(run_id, RunRequested.NAME)
    request = (
        topics.requests,
        run_key(run_id),
        asked,
        headers(RunRequested.CE_TYPE, ident, run_id),
    )
    await publish(services, [*strange, request, *strange])
    async with services.client() as client:
        done = await client.run(run_id).result(timeout_s=60)
        letters = await read_letters(client.connection, client.codec, topics)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, 5)
    assert letters.open == 0
    assert services.stop_all() == dict.fromkeys(names, 0)
    for name in names:
        assert "[error" not in services.log(name), services.log(name)


async def test_work_and_facts_of_the_version_before_are_done_though_they_lack_all_that_is_new(
    services,
):
    """What was recorded, reduced to what its schema requires, is taken up where it stands."""
    lines = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    plan = lines[0]
    run_id = plan["headers"]["ce_subject"]
    services.start("coordinator", "math", "string")
    independent = [step for step in plan["value"]["plan"]["steps"] if "depends_on" not in step]
    least = {"run_id": run_id, "plan": {"steps": independent}}
    of_plan = headers(plan["headers"]["ce_type"], plan["headers"]["ce_id"], run_id)
    alone = {
        "run_id": "alone",
        "step_id": "s",
        "attempt": 1,
        "agent": "math",
        "task": "add 1 and 1",
    }
    ident = message_id("alone/s/1", StepReady.NAME)
    work = headers(StepReady.CE_TYPE, ident, "alone")
    records = [
        (services.topics.events, run_key(run_id), least, of_plan),
        (services.topics.steps("math"), step_key("alone", "s"), alone, work),
    ]
    await publish(services, records)
    async with services.client() as client:
        done = await client.run(run_id).result(timeout_s=60)
        results = await facts_of(client, run_id, StepDone)

    assert done.outcome is RunOutcome.COMPLETED
    assert {result.step_id: result.output for result in results} == {"s1": 50, "s2": 2}
