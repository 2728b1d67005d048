"""Steps of one function or tool, run as they are in production, without Kafka."""

from __future__ import annotations

from starlings import Agent
from starlings.agents.execute import execute
from starlings.messages import StepDone, StepOutcome, StepReady


def ready(**more):
    given = {"run_id": "r1", "step_id": "s1", "attempt": 1, "agent": "a", "task": "do it", **more}
    return StepReady(**given)


async def run(function, *, as_tool=False, **more):
    agent = Agent("a", description="Does things")
    if as_tool:
        agent.tool(name="t", description="A tool.")(function)
        more = {"tool": "t", **more}
    else:
        agent.step(function)
    done = await execute(agent, ready(**more), instance="i1")
    assert StepDone.model_validate_json(done.model_dump_json()) == done  # it can always be sent
    return done


async def failure(function, **more):
    done = await run(function, **more)
    assert done.outcome is StepOutcome.ERROR
    assert (done.output, done.summary) == (None, None)
    return done.error
