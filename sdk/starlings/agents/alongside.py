"""What agents do beside their steps, for as long as an instance of them runs on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from .agent import Agent


@asynccontextmanager
async def alongside(agents: Sequence[Agent]) -> AsyncGenerator[None]:
    """Do it within the block; where it fails, the block fails with it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for agent in agents for work in agent.work_alongside]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
