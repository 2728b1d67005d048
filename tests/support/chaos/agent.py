"""The agents of the workload: `north` and `south`, in one process.

What they do to the world is a line in `journal.jsonl` in their working directory, with the
idempotency key that they were given. Lines are written in one go, so that those of several
processes stay whole, and survive a kill -9. Times are of the monotonic clock, which all processes
of a machine share and nobody can put forward. What a step returns depends on nothing but its own
name and the results of the steps before it, so that anybody can say beforehand what is right.

Where nobody shares a file with them, as in pods, `CHAOS_JOURNAL_TOPIC` names a topic to write to
instead. A line is acknowledged before the work goes on; its time is the wall clock's then, and the
host's name stands for the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic import BaseModel

from starlings import Agent, StepContext, StepFailed, TransientError
from starlings.kafka.connection import Connection, KafkaSettings

JOURNAL = "journal.jsonl"
JOURNAL_TOPIC = "CHAOS_JOURNAL_TOPIC"
CONCURRENCY = 128
_numbers = itertools.count()
_stumbled: set[str] = set()
_opening = asyncio.Lock()
_open: list[AIOKafkaProducer] = []


class Work(BaseModel):
    """What a step is told."""

    pause_s: float = 0.0
    stumbles: int = 0  # so many attempts fail before one succeeds
    fails: bool = False  # for good


north = Agent("north", description="Does one half of the work", concurrency=CONCURRENCY)
south = Agent("south", description="Does the other half", concurrency=CONCURRENCY)


@north.step
@south.step
async def work(told: Work, ctx: StepContext) -> str:
    """Take a while, and then have an effect, or stumble, or fail."""
    note = _Note(ctx)
    await note.write("began")
    try:
        await asyncio.sleep(told.pause_s)
    except asyncio.CancelledError:
        await note.write("ceased")
        raise
    if told.fails:
        await note.write("failed")
        raise StepFailed("this was not to be done")
    if ctx.attempt <= told.stumbles:
        await note.write("stumbled")
        raise TransientError("stumbled")
    await note.write("did")
    return digest(ctx.step_id, {k: str(v) for k, v in ctx.results.items()}, set(ctx.errors))


@north.compensate
@south.compensate
async def undo(output: str | None, ctx: StepContext) -> None:
    """Take a while, and then undo; one in four stumbles first, in each process anew."""
    note = _Note(ctx)
    await note.write("began")
    chance = int(output or "0", 16)
    try:
        await asyncio.sleep(chance % 20 / 100)
    except asyncio.CancelledError:
        await note.write("ceased")
        raise
    if chance % 4 == 0 and ctx.idempotency_key not in _stumbled:
        _stumbled.add(ctx.idempotency_key)
        await note.write("stumbled")
        raise TransientError("stumbled")
    await note.write("undid")


def digest(step_id: str, results: Mapping[str, str], errors: set[str]) -> str:
    """Compute what a step returns."""
    told = json.dumps([step_id, sorted(results.items()), sorted(errors)])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def whoami(host: str | None = None) -> int:
    """Number the process: by its id, or by the name of its host where that has only this one."""
    if host is None and JOURNAL_TOPIC not in os.environ:
        return os.getpid()
    return int(hashlib.sha256((host or socket.gethostname()).encode()).hexdigest()[:12], 16)


class _Note:
    """One execution of one attempt, as it is written down."""

    def __init__(self, ctx: StepContext) -> None:
        self._told: dict[str, Any] = {
            "run_id": ctx.run_id,
            "step_id": ctx.step_id,
            "attempt": ctx.attempt,
            "undoes": ctx.undoes,
            "key": ctx.idempotency_key,
            "pid": whoami(),
            "execution": f"{os.getpid()}-{next(_numbers)}",
        }

    async def write(self, what: str) -> None:
        if topic := os.environ.get(JOURNAL_TOPIC):
            told = {**self._told, "execution": f"{socket.gethostname()}-{self._told['execution']}"}
            line = json.dumps({"what": what, "at_s": time.time(), **told})
            await (await _journal()).send_and_wait(topic, line.encode())
            return
        line = json.dumps({"what": what, "at_s": time.monotonic(), **self._told}) + "\n"
        descriptor = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


async def _journal() -> AIOKafkaProducer:
    """Have one producer, which lives as long as the process."""
    async with _opening:
        if not _open:
            producer = Connection(KafkaSettings(), client_id="journal").producer()
            await producer.start()
            _open.append(producer)
    return _open[0]
