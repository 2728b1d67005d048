"""Rewinding consumer groups by the command line: what was done runs again, nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.asking import (
    SLOW,
    end_of,
    facts_of,
    records_in,
    slow,
    steps_committed,
    times_done,
)
from support.waiting import wait_until, wait_until_sync

from starlings.messages import StepDone

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = [slow("short"), slow("long", "short", pause_s=1.6)]  # long enough to be claimed


async def ran(services) -> str:
    """Do a run to its end, until the commits of all its steps are in, and stop the agent."""
    agent = services.start("coordinator", "planner", SLOW)[2]
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        await run.result(timeout_s=60)

    async def committed() -> bool:
        return await steps_committed(services, "slow") == len(PLAN)

    await wait_until(committed, timeout_s=30, message="both steps are committed")
    services.stop(agent)
    return run.run_id


async def test_rewound_steps_run_again_at_once_also_those_whose_claims_have_ended(
    services, starlings
):
    run_id = await ran(services)
    looked = await starlings("group", "rewind", "slow", "--to", "beginning", "--dry-run", "--json")
    assert looked.code == 0, looked.stderr
    told = looked.document
    assert (told["moved"], told["again"], told["runs"]) == (False, 2, 1)
    assert told["fates"] == {"again": 2}
    assert told["effects"]["known"]
    assert {entry["run_id"] for entry in told["records"]} == {run_id}

    services.start(SLOW)  # a look has changed nothing
    services.stop(SLOW)
    assert times_done(services) == {(run_id, "short"): 1, (run_id, "long"): 1}

    moved = await starlings("group", "rewind", "slow", "--to", "beginning", "--yes")
    assert moved.code == 0, moved.stderr
    assert "done again; its result is in the log, so the new one is dropped" in moved.stdout
    assert "they do again" in moved.stdout
    services.start(SLOW)
    wait_until_sync(
        lambda: times_done(services) == {(run_id, "short"): 2, (run_id, "long"): 2},
        timeout_s=60,
        message="both steps have been done again",
    )

    async def results() -> list[StepDone]:
        async with services.client() as client:
            return await facts_of(client, run_id, StepDone)

    async def said_again() -> bool:
        return len(await results()) == 2 * len(PLAN)

    await wait_until(said_again, timeout_s=30, message="the results are in the log twice")
    ids = [(done.step_id, done.attempt, done.outcome) for done in await results()]
    assert len(set(ids)) == len(PLAN)  # repeats of the same results, which the run ignores
    done = await end_of(services, run_id)
    assert done.output == "long"

    shown = (await starlings("group", "show", "slow", "--json")).document
    assert shown["pending"] == 0 or shown["members"]  # it commits a moment later
    assert any(each["rewound_at"] for each in shown["partitions"])


async def test_a_group_with_members_is_not_moved_and_its_members_are_named(services, starlings):
    services.start(SLOW)
    refused = await starlings("group", "rewind", "slow", "--to", "1h", "--yes")
    assert refused.code == 0, "nothing is done yet, so there is nothing to move"
    assert "nothing is to be moved" in refused.stderr
    async with services.client() as client:
        services.start("coordinator", "planner")
        await (await client.submit(plan=[slow("a")])).result(timeout_s=60)

    async def committed() -> bool:
        return await steps_committed(services, "slow") == 1

    await wait_until(committed, timeout_s=30, message="the step is committed")
    refused = await starlings("group", "rewind", "slow", "--to", "1h", "--yes")
    assert refused.code == 7
    assert f"{services.topics.agent_group('slow')} is at work" in refused.stderr
    assert "starlings-slow" in refused.stderr or "starlings-agent" in refused.stderr
    assert "instances that are seen" in refused.stderr
    assert set(times_done(services).values()) == {1}


async def test_only_what_lies_behind_the_time_runs_again(services, starlings):
    first = await ran(services)
    async with services.client() as client:
        agent = services.start(SLOW)[0]
        run = await client.submit(plan=PLAN)
        done = await run.result(timeout_s=60)
    assert done.output == "long"
    services.stop(agent)
    work = await records_in(services, [services.topics.steps("slow")])
    at_ms = min(r.timestamp for r in work if r.key.startswith(run.run_id.encode()))
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    moved = await starlings("group", "rewind", "slow", "--to", at, "--yes", "--json")
    assert moved.code == 0, moved.stderr
    assert moved.document["moved"]
    assert {entry["run_id"] for entry in moved.document["records"]} == {run.run_id}
    services.start(SLOW)
    wait_until_sync(
        lambda: times_done(services)[run.run_id, "long"] == 2,
        timeout_s=60,
        message="the second run's steps have been done again",
    )
    assert times_done(services)[first, "short"] == 1
    assert times_done(services)[first, "long"] == 1


async def test_a_rewound_coordinator_decides_nothing_anew(services, starlings):
    run_id = await ran(services)
    services.stop("coordinator")
    topics = services.topics
    logs = [topics.events, topics.steps("slow"), topics.control]
    before = [(r.topic, r.partition, r.offset) for r in await records_in(services, logs)]
    moved = await starlings("group", "rewind", "coordinator", "--to", "beginning", "--yes")
    assert moved.code == 0, moved.stderr
    assert "harmless" in moved.stdout
    services.start("coordinator", SLOW)
    async with services.client() as client:  # it is at work, behind all that it has read again
        others = [await client.submit(plan=[slow("b")]) for _ in range(8)]
        for other in others:
            await other.result(timeout_s=60)
    mine = {run.run_id.encode() for run in others}
    after = [
        (r.topic, r.partition, r.offset)
        for r in await records_in(services, logs)
        if (r.key or b"").partition(b"/")[0] not in mine
    ]
    assert sorted(after) == sorted(before)
    assert set(times_done(services).values()) == {1}
    assert times_done(services)[run_id, "long"] == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nobody", "--to", "beginning"], "no consumer group is named 'nobody'"),
        (["coordinator", "--to", "5"], "--partition"),
        (["coordinator", "--to", "5", "--partition", "9"], "has no partition 9"),
        (["coordinator", "--to", "500", "--partition", "0"], "there is no offset 500"),
        (["coordinator", "--to", "soon"], "is no time"),
        (["coordinator", "--to", "-3"], "is no time"),
    ],
)
async def test_what_cannot_be_meant_is_refused_in_words(services, starlings, argv, said):
    refused = await starlings("group", "rewind", *argv, "--yes")
    assert refused.code == 2
    assert said in " ".join(refused.stderr.replace("│", " ").split())
