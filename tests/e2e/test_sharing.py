"""Several of each: partitions are shared out, and each does its part."""

from __future__ import annotations

from collections import Counter

import pytest
from support.asking import SLOW, effects, records_in, slow, times_done

from starlings.messages import RunDone, RunOutcome, header

pytestmark = pytest.mark.kafka

RUNS = 50
PLAN = [slow("a"), slow("b", "a"), slow("c", "a"), slow("d", "b", "c", returns="the end")]


async def test_two_coordinators_and_two_replicas_of_an_agent_share_the_work(services):
    services.start("coordinator", "planner", SLOW)
    services.start("coordinator", "planner", SLOW)

    async with services.client() as client:
        runs = [await client.submit(plan=PLAN) for _ in range(RUNS)]
        ends = [await run.result(timeout_s=60) for run in runs]

    assert {(done.outcome, done.output) for done in ends} == {(RunOutcome.COMPLETED, "the end")}
    assert len(times_done(services)) == RUNS * len(PLAN)
    assert set(times_done(services).values()) == {1}
    workers = Counter(effect.pid for effect in effects(services, what="did"))
    assert len(workers) == 2, workers
    facts = await records_in(services, [services.topics.events])
    said = Counter(
        header(fact.headers, "ce_source")
        for fact in facts
        if header(fact.headers, "ce_type") == RunDone.CE_TYPE
    )
    assert len(said) == 2, said
    assert said.total() == RUNS  # each end was said once
