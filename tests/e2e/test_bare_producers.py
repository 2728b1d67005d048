"""Requests as people and foreign programs write them: no headers, no key, no library of ours."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from support.asking import (
    AWKWARD,
    bare_producer,
    end_of,
    facts_of,
    request_bare,
    slow,
    the_only_end,
    times_done,
)
from support.waiting import wait_until

from starlings.messages import (
    FailurePolicy,
    PlanCreated,
    RunDone,
    RunOutcome,
    StepDone,
)

pytestmark = pytest.mark.kafka

SHORT_PLAN = {
    "steps": [
        {"agent": "math", "task": "Add 2 and 3"},
        {"agent": "math", "task": "Multiply the result by 5", "dependencies": [0]},
    ]
}


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", "math", "string", AWKWARD)


async def test_a_line_of_text_without_key_and_headers_is_a_request(system):
    (run_id,) = await request_bare(system, b"Calculate 5 factorial")

    done = await the_only_end(system, run_id)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, 120)


async def test_a_json_object_with_a_request_is_one(system):
    (run_id,) = await request_bare(system, b'{"request": "Reverse \'abc\'"}')

    assert (await the_only_end(system, run_id)).output == "cba"


@pytest.mark.parametrize("form", [SHORT_PLAN, SHORT_PLAN["steps"]], ids=["object", "list"])
async def test_a_plan_by_itself_in_the_short_form_is_run_as_it_is(system, form):
    (run_id,) = await request_bare(system, json.dumps(form).encode())

    done = await the_only_end(system, run_id)

    assert done.output == 25, done.text
    async with system.client() as client:
        (plan,) = await facts_of(client, run_id, PlanCreated)
    assert plan.model is None  # nobody was asked for a plan


async def test_a_full_request_keeps_its_id_tags_and_choices(system):
    run_id = f"mine-{uuid.uuid4().hex[:8]}"
    deadline = datetime.now(UTC) + timedelta(minutes=5)
    request = {
        "run_id": run_id,
        "plan": {"steps": [slow("a"), slow("b"), slow("c", "a", "b", returns={"ok": True})]},
        "tags": {"team": "blue"},
        "max_parallel": 1,
        "on_failure": "continue",
        "deadline": deadline.isoformat(),
        "a field of the future": 1,
    }
    await request_bare(system, json.dumps(request).encode())

    done = await the_only_end(system, run_id)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, {"ok": True})
    async with system.client() as client:
        view = await client.run(run_id).view()
    options = view.plan.options
    assert view.run.tags == {"team": "blue"}
    assert (options.max_parallel, options.on_failure) == (1, FailurePolicy.CONTINUE)
    assert options.deadline == deadline


async def test_a_deadline_that_has_passed_ends_the_run_and_says_so(system):
    plan = {"steps": [slow("a", gate="never")]}
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    (run_id,) = await request_bare(system, json.dumps({"plan": plan, "deadline": past}).encode())

    done = await the_only_end(system, run_id)

    assert done.outcome is RunOutcome.FAILED
    assert "deadline" in done.error.message, done.error


async def test_the_same_run_id_twice_is_one_run(system):
    run_id = f"twice-{uuid.uuid4().hex[:8]}"
    topic = system.topics.requests
    first, second = (
        json.dumps({"run_id": run_id, "plan": [slow(name)]}).encode() for name in ("a", "b")
    )
    async with bare_producer(system) as producer, system.client() as client:
        await producer.send_and_wait(topic, first, partition=0)
        done = await end_of(system, run_id)
        await producer.send_and_wait(topic, second, partition=1)

        async def repeated() -> bool:
            return len(await facts_of(client, run_id, RunDone)) > 1

        await wait_until(repeated, timeout_s=30, message="the repeat is answered by the end")
        plans = await facts_of(client, run_id, PlanCreated)
        ends = await facts_of(client, run_id, RunDone)
        steps = await facts_of(client, run_id, StepDone)

    assert [plan.plan.steps[0].id for plan in plans] == ["a", "b"]
    assert [step.step_id for step in steps] == ["a"]  # the first plan in the log is the run's
    assert ends == [done, done]
    assert times_done(system)[run_id, "a"] == 1


def kcat() -> str:
    """Find the program; it has two names."""
    found = shutil.which("kcat") or shutil.which("kafkacat")
    if found is None:
        reason = "no kcat here: `apt-get install kcat` (as root `make test` does it)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found


async def test_a_line_typed_into_kcat_becomes_a_run(system):
    request = "Calculate 6 factorial"
    where = ["-b", system.kafka["KAFKA_BOOTSTRAP"], "-t", system.topics.requests]
    typing = await asyncio.create_subprocess_exec(kcat(), "-P", *where, stdin=subprocess.PIPE)
    await asyncio.wait_for(typing.communicate(f"{request}\n".encode()), timeout=60)
    assert typing.returncode == 0

    async with system.client() as client:

        async def ended() -> str | None:
            runs = await client.runs()
            return next((run.text for run in runs if run.request == request and run.text), None)

        text = await wait_until(ended, timeout_s=60, message="the line has become a run")
    assert text == "math: 720"
