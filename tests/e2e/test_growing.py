"""More partitions under a system that was at work: refused in flight, nothing lost afterwards."""

from __future__ import annotations

import pytest
from support.asking import SLOW, slow, times_done, with_agents
from support.waiting import wait_until

from starlings.messages import RunOutcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]
GROWN = 11


async def told(starlings, topic: str, *options: str, code: int = 0):
    ended = await starlings("topics", "grow", topic, "--partitions", str(GROWN), "--json", *options)
    assert ended.code == code, ended.stderr
    return ended.document


async def runs_end(services, count: int) -> list[str]:
    async with services.client() as client:
        handles = [await client.submit(plan=[slow("a"), slow("b", "a")]) for _ in range(count)]
        for handle in handles:
            assert (await handle.result(timeout_s=90)).outcome is RunOutcome.COMPLETED
    return [handle.run_id for handle in handles]


async def test_steps_and_facts_get_more_partitions_once_nothing_is_in_flight(services, starlings):
    names = services.start("coordinator", "planner", SLOW)
    async with services.client() as client:
        open_ = await client.submit(plan=[slow("long", pause_s=600)])
        await wait_until(lambda: with_agents(open_), timeout_s=60, message="a run is open")
        refused = await told(starlings, "steps.slow", code=7)
        assert not refused["done"]
        said = [each["said"] for each in refused["against"]]
        assert said[0] == "1 run is open"
        assert {"planner is at work", "coordinator is at work", "slow is at work"} <= set(said)
        assert len(await client.connection.partitions(services.topics.steps("slow"))) == 8
        await open_.cancel()
        await open_.result(timeout_s=60)
    before = await runs_end(services, 4)
    for name in names:
        services.stop(name)

    steps = await told(starlings, "steps.slow", "--wait", "30s")
    assert (steps["before"], steps["done"]) == (8, True)
    assert steps["along"] == [services.topics.checkpoints("slow")]
    noisy = await told(starlings, "events", code=7)
    assert "repeats are known so long" in noisy["against"][0]["said"]
    assert (await told(starlings, "events", "--quiet", "0.01"))["done"]
    assert (await told(starlings, "requests"))["done"]

    services.start("coordinator", "planner", SLOW)
    after = await runs_end(services, 12)
    connection = services.connection()
    for topic in (services.topics.events, *steps["along"], steps["topic"]):
        assert len(await connection.partitions(topic)) == GROWN
    verified = await starlings("replay", "verify", "--all", "--steps", "--json")
    assert verified.code == 0, verified.stdout
    done = times_done(services)
    assert done == {(run, step): 1 for run in (*before, *after) for step in ("a", "b")}


async def test_what_cannot_grow_is_said_before_anything_is_looked_at(services, starlings):
    for topic, said in (
        ("control", "does not grow by this command"),
        ("checkpoints.math", "checkpoints follow their steps"),
        ("steps.nobody", "is missing"),
    ):
        ended = await starlings("topics", "grow", topic, "--partitions", "9")
        assert ended.code == 2
        assert said in ended.stderr
    fewer = await starlings("topics", "grow", "events", "--partitions", "2")
    assert fewer.code == 2
    assert "Kafka takes none away" in fewer.stderr
