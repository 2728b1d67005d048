"""An agent that gets done with a step only as its larger variant."""

from __future__ import annotations

import asyncio
import os

from starlings import Agent, ResourceExhausted, RetryPolicy, StepContext

VARIANT = os.environ.get("STARLINGS_VARIANT")

heavy = Agent(
    "heavy",
    description="Needs much",
    retry=RetryPolicy(attempts=3, initial_s=0, escalate=["default", "large"]),
)


@heavy.step
async def lift(task: str, ctx: StepContext) -> str:
    if VARIANT is None and "memory" in task:
        raise ResourceExhausted("it takes 8 GB, there are 2")
    if VARIANT is None:
        await ctx.heartbeat({"percent": 10})
        await asyncio.Event().wait()  # killed meanwhile
    return f"lifted by {VARIANT}"
