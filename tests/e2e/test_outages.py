"""The broker goes away: at the start, and in the middle of runs."""

from __future__ import annotations

import time

import pytest
from support.asking import SLOW, effects, open_gate, slow, times_done
from support.services import running_services
from support.waiting import wait_until

from starlings.messages import RunOutcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

AWAY_S = 20.0
RUNS = 5
PLAN = [slow("a"), slow("b", "a", gate="open"), slow("c", "b"), slow("d", "c", returns="the end")]


async def until(condition, what: str):
    """Wait for what other processes do, for as long as a loaded machine may take."""
    await wait_until(condition, timeout_s=60, message=what)


async def test_runs_complete_after_a_broker_was_gone_for_20_s(own_broker, topics, tmp_path):
    async with running_services(own_broker.bootstrap, topics, tmp_path) as services:
        services.start("coordinator", "planner", SLOW)
        async with services.client() as client:
            runs = [await client.submit(plan=PLAN) for _ in range(RUNS)]
            await until(lambda: len(effects(services, what="began")) >= 2 * 4, "4 steps wait")
            own_broker.kill()
            gone_at = time.monotonic()
            open_gate(services, "open")  # results that nobody takes yet
            await until(lambda: time.monotonic() - gone_at > AWAY_S, f"{AWAY_S} s without a broker")
            own_broker.start()
            ends = [await run.result(timeout_s=60) for run in runs]
        codes = services.stop_all()

    assert {(done.outcome, done.output) for done in ends} == {(RunOutcome.COMPLETED, "the end")}
    assert len(times_done(services)) == RUNS * len(PLAN)
    assert set(times_done(services).values()) == {1}
    assert set(codes.values()) == {0}
    for name in codes:
        lines = services.log(name).splitlines()
        assert len(lines) < 150, f"{name} fills the log: {len(lines)} lines"


async def test_services_wait_for_a_broker_that_comes_later(own_broker, topics, tmp_path):
    async with running_services(own_broker.bootstrap, topics, tmp_path) as services:
        own_broker.stop()
        names = [services.spawn(program) for program in ("coordinator", "planner", SLOW)]
        said = f"nothing answers on {own_broker.bootstrap}"
        for name in names:
            await until(lambda name=name: said in services.log(name), f"{name} says what it lacks")
            assert "waiting for Kafka" in services.log(name)
            assert "Traceback" not in services.log(name)
        own_broker.start()
        services.wait_ready(*names)
        async with services.client() as client:
            done = await (await client.submit(plan=[slow("a")])).result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPLETED
