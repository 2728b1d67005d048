"""Jobs of another system over real processes: crashes submit nothing twice and lose nothing.

STARLINGS_TEST_WAITING_JOBS=10000 pytest tests/e2e/test_jobs.py -k waiting -s
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from aiokafka import TopicPartition
from support import job_agent
from support.job_server import JobServer, job_server
from support.services import Services
from support.waiting import wait_until, wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

REMOTE = f"{job_agent.__file__}:remote"
WAITING_JOBS = int(os.environ.get("STARLINGS_TEST_WAITING_JOBS", "400"))
STEPS_PER_RUN = 200
LIMIT_BYTES = 300_000_000
WITHIN_S = 60 + WAITING_JOBS / 10
DAY = {"run_s": 86_400}


@pytest.fixture
def jobs(services: Services) -> Iterator[JobServer]:
    with job_server() as jobs:
        services.env["JOB_SERVER_URL"] = jobs.url
        yield jobs


def step(name: str) -> dict[str, Any]:
    return {"id": name, "agent": "remote", "task": f"do {name}", "timeouts": DAY}


def until(condition, message: str, *, timeout_s: float = 60) -> None:
    wait_until_sync(condition, timeout_s=timeout_s, message=message)


async def test_a_crash_between_submission_and_checkpoint_finds_the_job_again(services, jobs):
    (agent,) = services.start("coordinator", "planner", REMOTE)[2:]
    jobs.answers_creates.clear()  # the job exists, and its handle does not come back
    async with services.client() as client:
        run = await client.submit(plan=[step("s1")], run_id="r1")
        until(lambda: jobs.submissions["r1/s1/1"] == 1, "the job is submitted")
        services.kill(agent)
        jobs.answers_creates.set()
        services.start(REMOTE)
        until(lambda: jobs.submissions["r1/s1/1"] == 2, "the successor asks for the same job")
        jobs.finish("r1/s1/1", "the end")
        done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "the end")
    assert len(jobs.jobs) == 1


async def test_a_crash_while_a_job_is_looked_at_submits_nothing(services, jobs):
    (agent,) = services.start("coordinator", "planner", REMOTE)[2:]
    async with services.client() as client:
        run = await client.submit(plan=[step("s1")], run_id="r1")
        until(lambda: jobs.looks["job-0"] >= 2, "the job is looked at")
        services.kill(agent)
        before = jobs.looks["job-0"]
        services.start(REMOTE)
        until(lambda: jobs.looks["job-0"] > before, "the successor looks at it")
        jobs.finish("r1/s1/1", "the end")
        done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "the end")
    assert jobs.submissions == {"r1/s1/1": 1}


async def test_cancelling_a_run_deletes_its_job(services, jobs):
    services.start("coordinator", "planner", REMOTE)
    async with services.client() as client:
        run = await client.submit(plan=[step("s1")], run_id="r1")
        until(lambda: jobs.looks["job-0"] >= 2, "the job is looked at")
        await run.cancel("no more")
        done = await run.result(timeout_s=60)
        until(lambda: jobs.deletes["job-0"] == 1, "the job is deleted")

    assert done.outcome is RunOutcome.CANCELLED


@pytest.mark.slow
@pytest.mark.timeout(4 * WITHIN_S)
async def test_waiting_jobs_survive_a_crash_in_little_memory_and_leave_no_lag(services, jobs):
    poll_s = max(1.0, WAITING_JOBS / 300)
    services.env["JOB_POLL_S"] = str(poll_s)
    (agent,) = services.start("coordinator", "planner", REMOTE)[2:]
    async with services.client() as client:
        plan = [step(f"s{n}") for n in range(STEPS_PER_RUN)]
        runs = [await client.submit(plan=plan) for _ in range(WAITING_JOBS // STEPS_PER_RUN)]
        total = len(runs) * STEPS_PER_RUN
        until(lambda: len(jobs.jobs) == total, "all are submitted", timeout_s=WITHIN_S)

        async def all_committed() -> bool:
            return await lag(services) == 0

        await wait_until(all_committed, timeout_s=WITHIN_S, message="no offset is uncommitted")
        before = rss(services, agent)
        services.kill(agent)
        jobs.forget_looks()
        began = time.monotonic()
        (agent,) = services.start(REMOTE)
        until(lambda: jobs.looked_at() == total, "all are looked at", timeout_s=WITHIN_S)
        took_s = time.monotonic() - began
        after = rss(services, agent)
        jobs.all_ended = True
        ends = [await run.result(timeout_s=WITHIN_S) for run in runs]

    assert {done.outcome for done in ends} == {RunOutcome.COMPLETED}
    assert set(jobs.submissions.values()) == {1}
    assert jobs.deletes == {}
    assert max(before, after) < LIMIT_BYTES
    sys.stderr.write(  # the figures, for whoever asks with -s
        f"\n{total:,} waiting jobs: {before / 1e6:.0f} MB before and {after / 1e6:.0f} MB after "
        f"kill -9; all looked at again after {took_s:.1f} s (an interval is {poll_s:.1f} s)\n"
    )


def rss(services: Services, name: str) -> int:
    return int(psutil.Process(services.pid(name)).memory_info().rss)


async def lag(services: Services) -> int:
    topic, group = services.topics.steps("remote"), services.topics.agent_group("remote")
    connection = services.connection()
    places = [TopicPartition(topic, number) for number in await connection.partitions(topic)]
    commits = await connection.committed(group, places)
    async with connection.reading() as consumer:
        ends = await consumer.end_offsets(places)
    return sum(end - (commits[p].offset if p in commits else 0) for p, end in ends.items())
