"""The smallest service there is, started as a process by its test.

`STARLINGS_TINY` tells it what to do besides waiting for its end.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from pydantic import Field

from starlings.messages import ConfigError
from starlings.service import Metric, ServiceContext, ServiceSettings, run_service


class TinySettings(ServiceSettings):
    tiny: str = Field(default="", description="block, linger, ignore, crash, refuse or nothing")
    unblock: Path = Field(default=Path(), description="a file whose existence ends the block")


async def main(ctx: ServiceContext[TinySettings]) -> None:
    if ctx.settings.tiny == "refuse":
        await _refuse()
    if ctx.settings.tiny == "refuse in a task":
        async with asyncio.TaskGroup() as group:
            group.create_task(_refuse())
    if ctx.settings.tiny == "crash":
        raise RuntimeError("the tiny service broke")
    ctx.metrics.pull(Metric.MESSAGES_HANDLED, lambda: 7)
    ctx.health.ready_when(lambda: None)
    ctx.log.info("ready")
    if ctx.settings.tiny == "block":
        await asyncio.sleep(0.1)
        _block_until_exists(ctx.settings.unblock)
    await ctx.stop.wait()
    if ctx.settings.tiny == "linger":
        await asyncio.sleep(ctx.settings.grace_s / 2)
        ctx.log.info("work finished")
    if ctx.settings.tiny == "ignore":
        await asyncio.Event().wait()


async def _refuse() -> None:
    raise ConfigError("KAFKA_BOOTSTRAP=nowhere:9092 cannot be resolved; set it to host:port")


def _block_until_exists(path: Path) -> None:
    """Hold the event loop, as a handler does that computes or does blocking I/O."""
    while not path.exists():
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(run_service("tiny", main, TinySettings))
