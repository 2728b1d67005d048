"""Crashes and scaling while steps are at work: nothing is asked or begun a second time in vain."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.asking import AWKWARD, SLOW, effects, open_gate, slow
from support.model_server import model_server
from support.waiting import wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

STEPS = 30
STEP_S = 4.0
SOON = {"STARLINGS_SESSION_TIMEOUT_S": "2", "STARLINGS_CLAIM_LEASE_S": "2"}


def until(services, what: str, times: int = 1):
    wait_until_sync(
        lambda: len(effects(services, what=what)) >= times,
        timeout_s=90,
        message=f"{times} steps {what}",
    )


def times(services, what: str) -> Counter[str]:
    return Counter(effect.step_id for effect in effects(services, what=what))


async def test_an_answer_outlives_the_process_that_asked_for_it(services):
    services.start("coordinator", "planner")
    (agent,) = services.start(f"{AWKWARD}:careful", env=SOON)
    step = {"id": "a", "agent": "careful", "input": {"gate": "open"}}
    async with services.client() as client:
        run = await client.submit(plan=[step])
        until(services, "began")
        asker = services.pid(agent)
        services.kill(agent)
        services.start(f"{AWKWARD}:careful", env=SOON)
        until(services, "began", times=2)
        open_gate(services, "open")
        done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, f"the answer of {asker}")
    assert times(services, "asked") == {"a": 1}


async def test_a_plan_of_tool_calls_goes_on_behind_what_was_done_before_the_crash(services):
    calls = [
        {"tool": "book", "args": {"what": "a table"}, "reasoning": "first"},
        {"tool": "wait_for", "args": {"gate": "open"}, "reasoning": "then"},
    ]
    with model_server() as model:
        env = {**SOON, "OPENAI_BASE_URL": model.base_url}
        services.start("coordinator", "planner")
        (agent,) = services.start(f"{AWKWARD}:clerk", env=env)
        model.replies(json.dumps({"calls": calls, "cannot": None}))
        async with services.client() as client:
            run = await client.submit(plan=[{"id": "a", "agent": "clerk", "task": "a table"}])
            until(services, "began")
            services.kill(agent)
            services.start(f"{AWKWARD}:clerk", env=env)
            until(services, "began", times=2)
            open_gate(services, "open")
            done = await run.result(timeout_s=60)
        asked = len(model.requests)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "open is open")
    assert (times(services, "booked"), asked) == ({"a": 1}, 1)
    assert done.usage is None or done.usage.calls == 1


async def test_scaling_out_and_in_begins_no_step_a_second_time(services):
    services.start("coordinator", "planner")
    env = {"STARLINGS_CONCURRENCY": "100"}
    (first,) = services.start(SLOW, env=env)
    plan = [slow(f"s{number}", pause_s=STEP_S) for number in range(STEPS)]
    async with services.client() as client:
        run = await client.submit(plan=plan, max_parallel=STEPS)
        until(services, "began", times=STEPS)
        second, third = services.start(SLOW, SLOW, env=env)  # all are still young, or claimed
        services.stop(first)  # it ends what it works on
        services.stop(third)
        done = await run.result(timeout_s=120)

    assert done.outcome is RunOutcome.COMPLETED
    everything = {f"s{number}": 1 for number in range(STEPS)}
    assert times(services, "began") == times(services, "did") == everything
    assert not effects(services, what="cancelled")
    assert second in services.running


async def test_what_a_dead_instance_worked_on_begins_again_when_its_claim_has_expired(services):
    services.start("coordinator", "planner")
    dead, _alive = services.start(SLOW, SLOW, env={**SOON, "STARLINGS_CONCURRENCY": str(STEPS)})
    plan = [slow(f"s{number}", gate="open") for number in range(STEPS)]
    async with services.client() as client:
        run = await client.submit(plan=plan, max_parallel=STEPS)
        until(services, "began", times=STEPS)
        lost = [e.step_id for e in effects(services) if e.pid == services.pid(dead)]
        assert 0 < len(lost) < STEPS
        services.kill(dead)
        until(services, "began", times=STEPS + len(lost))
        open_gate(services, "open")
        done = await run.result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPLETED
    began = times(services, "began")
    assert {step for step, count in began.items() if count == 2} == set(lost)
    assert set(times(services, "did").values()) == {1}
