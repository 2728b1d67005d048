"""The request of the demo, worked off by separate processes on a real Kafka."""

from __future__ import annotations

import pytest

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)


async def test_separate_processes_turn_the_request_into_100(services):
    services.start("coordinator", "planner", "math", "string")

    async with services.client() as client:
        run = await client.submit(REQUEST)
        done = await run.result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPLETED, done
    assert done.output == 100
    assert [(step.agent, step.output) for step in done.steps] == [
        ("math", 50),
        ("string", 2),
        ("math", 100),
    ]
