"""Agents that hear each other's events, to be run as processes by tests that interfere.

`opens` asks for work, `works` leaves a line in `effects.txt` when it begins and when it has done,
and waits for the file `go` in between; `closes` leaves a line for what it was told.
"""

from __future__ import annotations

import os

from pydantic import BaseModel

from starlings import Agent, EventContext
from support.awkward import EFFECTS, at

GATE = "go"


class JobWanted(BaseModel):
    number: int
    held: bool = False


class JobOpened(JobWanted):
    pass


class JobDone(JobWanted):
    pass


opens = Agent("opens", description="Opens jobs")
works = Agent("works", description="Does jobs", concurrency=4)
closes = Agent("closes", description="Closes jobs")


@opens.on(JobWanted)
async def open_job(job: JobWanted, ctx: EventContext) -> JobOpened:
    note("opened", job, ctx)
    return JobOpened(**job.model_dump())


@works.on(JobOpened)
async def work(job: JobOpened, ctx: EventContext) -> JobDone:
    note("began", job, ctx)
    await at(GATE if job.held else None)
    note("did", job, ctx)
    return JobDone(**job.model_dump())


@closes.on(JobDone)
async def close(job: JobDone, ctx: EventContext) -> None:
    note("closed", job, ctx)


both = Agent("both", description="Does steps, and hears of jobs that are done")


@both.step
def step(task: str) -> str:
    return task.upper()


@both.on(JobDone)
def hear(job: JobDone, ctx: EventContext) -> None:
    note("heard", job, ctx)


def note(what: str, job: JobWanted, ctx: EventContext) -> None:
    """Leave a line: one write, so that lines of several processes stay whole."""
    line = f"{what} {job.number} {ctx.event_id}\n"
    descriptor = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
