"""One plan, run in one process and by separate processes on Kafka, ends in the same result."""

from __future__ import annotations

import pytest
from support.asking import AWKWARD, call
from support.awkward import bulky, odd

from starlings.messages import FailurePolicy, RunDone, RunOptions
from starlings.messages.plan import RetryPolicy, Timeouts
from starlings.testing import LocalRun

pytestmark = pytest.mark.kafka

QUICKLY = RetryPolicy(attempts=3, initial_s=0.01, factor=1)
PLAN = [
    {**call("odd", "comes_round"), "id": "third-time"},
    {**call("odd", "refuses", text="tea"), "id": "no-tea"},
    {**call("bulky", "large", megabytes=1), "id": "large"},
    {
        **call("bulky", "measure", text="{{steps.large.output}}"),
        "id": "measured",
        "depends_on": ["large", "third-time"],
    },
    {**call("odd", "fine"), "id": "fine", "depends_on": ["no-tea", "measured"]},
    {**call("odd", "hangs"), "id": "late", "timeouts": Timeouts(run_s=0.2).model_dump()},
    {**call("odd", "not_a_number"), "id": "nan", "depends_on": ["late"]},
]


def comparable(done: RunDone) -> dict[str, object]:
    """Leave out what no two runs share."""
    return done.model_dump(exclude={"run_id", "duration_s"})


@pytest.mark.parametrize("policy", [FailurePolicy.CONTINUE, FailurePolicy.SKIP_DEPENDENTS])
async def test_the_same_plan_ends_the_same_here_and_on_kafka(services, policy):
    services.start("coordinator", "planner", AWKWARD)
    options = RunOptions(on_failure=policy, retry=QUICKLY)
    plan = [{**step, "retry": QUICKLY.model_dump()} for step in PLAN]

    here = await LocalRun(plan, [odd, bulky], options=options)
    async with services.client() as client:
        run = await client.submit(plan=plan, on_failure=policy)
        there = await run.result(timeout_s=60)

    assert comparable(here) == comparable(there)
    assert {step.state for step in here.steps} >= {"done", "failed"}
