"""SIGTERM and cancel: what is at work is finished, handed back or stopped, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.asking import SLOW, effects, open_gate, slow
from support.model_server import Reply, model_server
from support.waiting import wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

PLAN = [slow("a"), slow("b", "a", gate="open", returns="the end")]


def until(services, what: str, step: str, times: int = 1):
    """Wait until a slow step has left a line so often."""
    wait_until_sync(
        lambda: sum(e.step_id == step for e in effects(services, what=what)) >= times,
        timeout_s=60,
        message=f"{step} {what} {times} times",
    )


def ask_to_stop(services, name: str):
    """Send SIGTERM, and wait until the process has noticed."""
    os.kill(services.pid(name), signal.SIGTERM)
    wait_until_sync(
        lambda: "stopping" in services.log(name), timeout_s=30, message=f"{name} is stopping"
    )


async def test_an_agent_finishes_its_running_steps_before_it_leaves(services):
    (agent,) = services.start("coordinator", "planner", SLOW)[2:]
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until(services, "began", "b")
        ask_to_stop(services, agent)
        open_gate(services, "open")
        assert services.wait_end(agent) == 0
        done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "the end")
    assert [e.step_id for e in effects(services, what="did")] == ["a", "b"]
    assert not effects(services, what="cancelled")
    assert services.stop_all() == {"coordinator": 0, "planner": 0}


async def test_a_step_that_outlasts_the_grace_is_handed_back_and_done_by_the_next(services):
    services.start("coordinator", "planner")
    (agent,) = services.start(SLOW, env={"STARLINGS_GRACE_S": "0.5"})
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until(services, "began", "b")
        began = time.monotonic()
        assert services.stop(agent) == 0
        assert time.monotonic() - began < 10
        services.start(SLOW)
        until(services, "began", "b", times=2)
        open_gate(services, "open")
        done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "the end")
    assert [e.step_id for e in effects(services, what="cancelled")] == ["b"]
    assert [e.step_id for e in effects(services, what="did")] == ["a", "b"]
    assert {e.attempt for e in effects(services)} == {1}  # a stop is no failure of the step


async def test_a_planner_that_stops_while_a_model_thinks_leaves_the_request_to_the_next(services):
    with model_server() as model:
        env = {"OPENAI_BASE_URL": model.base_url, "STARLINGS_GRACE_S": "0.5"}
        services.start("coordinator", SLOW)
        services.start("planner", env=env)
        plan = '{"steps": [{"id": "s1", "agent": "slow", "task": "{}", "depends_on": []}]}'
        model.replies(Reply(hangs=True), plan)
        async with services.client() as client:
            run = await client.submit("Take your time")
            wait_until_sync(lambda: model.requests, timeout_s=30, message="the model is asked")
            assert services.stop("planner") == 0
            services.start("planner", env=env)
            done = await run.result(timeout_s=60)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "s1")
    assert len(model.requests) == 2


async def test_cancel_reaches_running_steps_within_a_second(services):
    services.start("coordinator", "planner", SLOW)
    async with services.client() as client:
        run = await client.submit(plan=[slow("a", gate="never"), slow("b", "a")])
        until(services, "began", "a")
        began = time.monotonic()
        await run.cancel("changed my mind", requested_by="ann")
        until(services, "cancelled", "a")
        took_s = time.monotonic() - began
        done = await run.result(timeout_s=30)

    assert took_s < 1.0
    assert done.outcome is RunOutcome.CANCELLED
    assert "changed my mind" in done.error.message, done
    assert [e.step_id for e in effects(services, what="began")] == ["a"]
