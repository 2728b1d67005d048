"""A provider that refuses one step of one instance: all instances wait, and lose nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from support.asking import AWKWARD, effects, facts_of
from support.waiting import wait_until

from starlings.messages import RunOutcome, StepDone

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

THROTTLED = f"{AWKWARD}:throttled"
LIMITED_S = 8.0


def listed(services):
    """Ask the command line how the agent is."""
    argv = [sys.executable, "-m", "starlings.cli", "agents", "throttled", "--json"]
    done = subprocess.run(
        argv, env=services.env, cwd=services.folder, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)[0]


async def test_one_refusal_lets_both_instances_wait_and_costs_no_attempt(services):
    names = services.start("coordinator", "planner", THROTTLED, THROTTLED)[2:]
    async with services.client() as client:
        hit = {"id": "hit", "agent": "throttled", "input": {"limited_s": LIMITED_S}}
        began = time.time()
        run = await client.submit(plan=[hit])
        for name in names:
            await wait_until(
                lambda name=name: "cooling down" in services.log(name),
                timeout_s=20,
                message=f"{name} waits",
            )
        told = listed(services)["cooldown"]
        others = [{"id": f"s{n}", "agent": "throttled", "input": {}} for n in range(12)]
        later = await client.submit(plan=others)
        ends = [await each.result(timeout_s=60) for each in (run, later)]
        (done,) = await facts_of(client, run.run_id, StepDone)

    assert [end.outcome for end in ends] == [RunOutcome.COMPLETED] * 2
    assert (done.attempt, done.error) == (1, None)
    assert told is None or told["reason"] == "too many requests"
    called = [
        float(e.what.removeprefix("called-")) for e in effects(services) if "called" in e.what
    ]
    assert len(called) == 13
    assert min(called) >= began + LIMITED_S
    for name in names:
        log = services.log(name)
        assert log.count("cooling down: no step is started") == 1
        assert log.count("the cooldown is over") == 1
