"""A message that could not be handled: told of, mended, sent back, and its run completes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from support.asking import SLOW, end_of, slow, times_done
from support.waiting import wait_until

from starlings.client import Client
from starlings.messages import RunOutcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def dlq(starlings, *argv: str):
    """Run a command that prints JSON; return what it printed."""
    done = await starlings("dlq", *argv, "--json")
    return json.loads(done.stdout or "null")


def move(folder: Path, to: Path) -> None:
    """Rename a folder, where there is one."""
    if folder.exists():
        folder.rename(to)


async def work_lies(services, client: Client) -> None:
    """Wait until the step's work lies on its topic."""
    topic = services.topics.steps("slow")

    async def some():
        async with client.connection.reading() as consumer:
            places = await client.connection.partitions(topic)

            ends = await consumer.end_offsets([TopicPartition(topic, p) for p in places])
            return sum(ends.values())

    await wait_until(some, timeout_s=30, message="work for slow")


async def test_work_whose_cause_of_failure_was_mended_is_sent_back_and_the_run_completes(
    services, starlings
):
    services.start("coordinator", "planner", SLOW)
    blobs = Path(services.blobs_url.removeprefix("file://"))
    async with services.client() as client:
        services.kill(SLOW)  # its work waits, and it counts as alive for some seconds still
        run = await client.submit(plan=[slow("a", returns="y" * 300_000)])
        await work_lies(services, client)
        lost = blobs.with_name("lost")
        move(blobs, lost)
        services.start(SLOW)

        async def open_letters():
            return await client.dead_letters.find(run_id=run.run_id)

        await wait_until(open_letters, timeout_s=60, message="a dead letter")
        (letter,) = await dlq(starlings, "ls", "--run", run.run_id)
        assert letter["error"]["code"] == "blob_gone"
        name = letter["letter"]
        assert "1 open in" in (await starlings("doctor")).stdout
        assert "gone from the blob store" in (await starlings("dlq", "show", name)).stdout
        refused = await starlings("dlq", "redrive", name)
        assert refused.code == 1
        assert "its value lay in the blob store" in refused.stderr

        move(blobs, blobs.with_name("empty"))  # whoever looked for a blob has made the folder
        move(lost, blobs)
        sent = await starlings("dlq", "redrive", "--all", "--code", "blob_gone")
        assert sent.code == 0, sent.stderr
        assert "redriven" in sent.stdout
        done = await end_of(services, run.run_id)

    assert done.outcome is RunOutcome.COMPLETED
    assert times_done(services) == {(run.run_id, "a"): 1}
    assert await dlq(starlings, "ls") == []
    (letter,) = await dlq(starlings, "ls", "--state", "redriven")
    assert [event["what"] for event in letter["history"]] == ["buried", "redriven"]
    again = await starlings("dlq", "redrive", name, "--again")
    assert "the run has ended (completed)" in again.stderr
    assert (await starlings("dlq", "discard", name, "--reason", "tidy")).code == 0
    assert (await starlings("dlq", "show", "steps.slow/0/99999")).code == 2
    assert times_done(services) == {(run.run_id, "a"): 1}
