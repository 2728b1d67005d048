"""A limit that instances share: never more at once, whoever comes or is killed; all gets done."""

from __future__ import annotations

import pytest
from support.asking import AWKWARD, effects
from support.waiting import wait_until

from starlings.messages import RunOutcome

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

METERED = f"{AWKWARD}:metered"
AT_ONCE = 3


def most_at_once(services) -> int:
    """Count how many steps were at work at the same time, at the most."""
    moments = []
    for effect in effects(services):
        what, _, at = effect.what.partition("-")
        moments.append((float(at), 1 if what == "from" else -1))
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def plan(count: int):
    return [{"id": f"s{n}", "agent": "metered", "task": "use it"} for n in range(count)]


async def test_instances_that_come_and_rest_keep_the_limit_and_share_the_work(services):
    services.start("coordinator", "planner", METERED, METERED)
    async with services.client() as client:
        first = await client.submit(plan=plan(30))
        await wait_until(lambda: effects(services), timeout_s=30, message="some steps at work")
        services.start(METERED, METERED)  # in the midst of it: four instances for three at once
        second = await client.submit(plan=plan(30))
        ends = [await run.result(timeout_s=90) for run in (first, second)]

    assert [end.outcome for end in ends] == [RunOutcome.COMPLETED] * 2
    assert most_at_once(services) <= AT_ONCE
    began = [effect for effect in effects(services) if effect.what.startswith("from")]
    assert len(began) == 60
    assert len({effect.pid for effect in began}) >= 2
