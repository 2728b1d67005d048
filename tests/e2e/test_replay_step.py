"""`starlings replay step` on a running system: nothing is published unless that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from support.asking import records_in
from support.cli_process import CommandLine
from support.waiting import wait_until

from starlings.kafka.codec import Received
from starlings.messages import StepDone, StepStarted, header

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CODE = """
import asyncio
from pathlib import Path

from starlings import Agent, StepContext
from starlings.agents import JobAgent, JobStatus, Phase

shop = Agent("shop", description="Buys")
printer = JobAgent("printer", description="Prints", first_poll_s=0.05)


def note(file: str, line: str) -> str:
    with Path(file).open("a") as opened:
        opened.write(line + "\\n")
    return line


@shop.step
async def buy(task: str, ctx: StepContext) -> str:
    await ctx.once("buy", lambda: note("bought.txt", ctx.task))
    while ctx.task == "wait" and not Path("end.txt").exists():
        await asyncio.sleep(0.05)
    return f"{ctx.task} {sorted(ctx.results)}"


@printer.create
def create(task: str) -> str:
    return note("printed.txt", "page")


@printer.get
def get(handle: str) -> JobStatus:
    return JobStatus(Phase.SUCCEEDED, output=handle)


@printer.delete
def delete(handle: str) -> None:
    note("deleted.txt", handle)
"""
PLAN = [
    {"id": "tea", "agent": "shop", "task": "tea"},
    {"id": "page", "agent": "printer", "task": "print"},
    {"id": "cup", "agent": "shop", "task": "cup", "depends_on": ["tea", "page"]},
]


@pytest.fixture
def code(services) -> str:
    file: Path = services.folder / "shop.py"
    file.write_text(CODE)
    return str(file)


def lines_of(services, name: str) -> list[str]:
    file = services.folder / name
    return file.read_text().splitlines() if file.exists() else []


async def ends_in(services) -> int:
    """Count the ends of attempts in the log."""
    records = await records_in(services, [services.topics.events])
    return sum(header(r.headers, "ce_type") == StepDone.CE_TYPE for r in records)


async def test_a_step_runs_again_from_the_live_log_and_leaves_no_trace(services, code):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", code)
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        done = await run.result(timeout_s=60)
    assert done.outcome.value == "completed"

    same = await starlings("replay", "step", "latest", "cup", "--agent", code, "--json")
    assert same.code == 0, same.stderr
    told = same.document
    assert (told["same"], told["calls"]["answered"]) == (True, ["buy"])
    assert told["ready_from"].startswith(services.topics.steps("shop"))
    job = await starlings("replay", "step", run.run_id, "page", "--agent", code, "--json")
    assert (job.code, job.document["same"]) == (0, True), job.stderr
    refused = await starlings("replay", "step", run.run_id, "cup", "--agent", code, "--publish")
    assert refused.code == 7
    assert "the attempt has its result in the log" in refused.stderr

    await delete_all(services, services.topics.steps("shop"))
    rebuilt = await starlings("replay", "step", run.run_id, "cup", "--agent", code, "--json")
    assert (rebuilt.code, rebuilt.document["ready_from"]) == (0, None), rebuilt.stderr
    assert rebuilt.document["now"]["output"] == "cup ['page', 'tea']"

    assert lines_of(services, "bought.txt") == ["tea", "cup"]
    assert (lines_of(services, "printed.txt"), lines_of(services, "deleted.txt")) == (["page"], [])
    assert await ends_in(services) == len(PLAN)


async def delete_all(services, topic: str) -> None:
    """Delete what a topic holds, as retention would."""
    connection = services.connection()
    places = [TopicPartition(topic, number) for number in await connection.partitions(topic)]
    async with connection.reading() as consumer:
        ends = await consumer.end_offsets(places)
    async with connection.administering() as admin:
        await admin.delete_records({p: RecordsToDelete(end) for p, end in ends.items() if end})


async def test_a_run_that_lost_its_agent_goes_on_with_a_result_that_is_published(services, code):
    starlings = CommandLine(services)
    agent = services.start("coordinator", "planner", code)[2]
    async with services.client() as client:
        run = await client.submit(plan=[{"id": "slow", "agent": "shop", "task": "wait"}])

        async def started() -> bool:
            records = run.records(follow=False)
            return any([isinstance(r.message, StepStarted) async for r in records])

        await wait_until(started, timeout_s=60, message="the step is at work")
        services.kill(agent)
        (services.folder / "end.txt").write_text("x")

        argv = ("replay", "step", run.run_id, "slow", "--agent", code, "--answers", "live")
        looked = await starlings(*argv)
        assert looked.code == 0, looked.stderr
        assert "nothing to compare with" in looked.stdout
        assert (await run.view()).done is None

        published = await starlings(*argv, "--publish")
        assert published.code == 0, published.stderr
        assert "published: the run goes on" in published.stdout
        done = await run.result(timeout_s=60)
        assert (done.outcome.value, done.output) == ("completed", "wait []")
        marks = [r.envelope.replay async for r in run.records(follow=False) if is_end(r)]
        assert marks == [f"step {run.run_id}/slow/1"]
        again = await starlings(*argv, "--publish")
        assert again.code == 7, again.stderr


def is_end(received: Received) -> bool:
    return isinstance(received.message, StepDone)
