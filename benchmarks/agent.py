"""The agent that is measured: its step does nothing but tell when it began and ended."""

from __future__ import annotations

import sys
import time

from starlings.agents import Agent
from starlings.agents.service import run_agents

from .profiled import profiled

AGENT = "bench"
CONCURRENCY = 256

agent = Agent(AGENT, description="Tells when it ran", concurrency=CONCURRENCY)


@agent.step
async def tell(task: str) -> list[float]:
    """Tell when this began and ended, on the one monotonic clock that all processes share."""
    del task
    began = time.perf_counter()
    return [began, time.perf_counter()]


if __name__ == "__main__":
    sys.exit(profiled("agent", lambda: run_agents([agent])))
