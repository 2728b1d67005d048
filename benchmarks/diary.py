"""The agent of the takeover benchmark: each of its steps takes a while and leaves a line.

A line is written when a step's work is done, before its result is published: time, process, step.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from starlings.agents import Agent, StepContext
from starlings.agents.service import run_agents
from starlings.messages import StepDone, attempt_id

DIARY = "diary"
STEP_S = 0.05
CONCURRENCY = 256

agent = Agent(DIARY, description="Takes a while and leaves a line", concurrency=CONCURRENCY)


class Entry(NamedTuple):
    """One line of the diary; `result` is the id of the fact that the step's result becomes."""

    at: float
    pid: int
    result: str


@agent.step
async def work(task: str, ctx: StepContext) -> str:
    """Take a while, and leave a line."""
    del task
    await asyncio.sleep(STEP_S)
    result = attempt_id(ctx.run_id, ctx.step_id, ctx.attempt, StepDone.NAME)
    line = f"{time.perf_counter()} {os.getpid()} {result}\n"
    os.write(_file(), line.encode())
    return "done"


def _file() -> int:
    if not _files:
        _files.append(os.open(os.environ["BENCH_DIARY"], os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    return _files[0]


_files: list[int] = []


def entries(file: Path) -> Iterator[Entry]:
    """Read what has been written so far."""
    for line in file.read_text().splitlines() if file.exists() else ():
        at, pid, result = line.split()
        yield Entry(float(at), int(pid), result)


if __name__ == "__main__":
    sys.exit(run_agents([agent]))
