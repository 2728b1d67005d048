"""An agent that takes its time, for tests that interfere while it is at work."""

from __future__ import annotations

import asyncio

from starlings import Agent, StepFailed

slow = Agent("slow", description="Takes its time", concurrency=4)


@slow.tool
async def wait(seconds: float) -> str:
    """Waits."""
    await asyncio.sleep(seconds)
    return f"waited {seconds:g} s"


@slow.tool
def fail() -> str:
    """Fails for good."""
    raise StepFailed("this cannot be done")
