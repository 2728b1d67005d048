"""Agents that give trouble, to be run as processes by tests: slow ones and bad ones.

`slow`, and `undoable` when it undoes, leave a line in `effects.txt` in their working directory for
each thing that they do, and can be made to wait for a file. `odd` has tools that do what tools
should not; `bulky` returns much.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from typing import Any

from pydantic import BaseModel

from starlings import Agent, Limit, Result, StepContext, StepFailed, TransientError
from starlings.messages import Amendment, Usage

EFFECTS = "effects.txt"
POLL_S = 0.01


class Slow(BaseModel):
    """What a slow step is told."""

    gate: str | None = None  # waits until this file is there
    pause_s: float = 0.0
    returns: Any = None
    adds: list[Any] | None = None  # steps that it wants added to the plan
    tokens: int = 0  # says that a model has used so many


slow = Agent("slow", description="Takes its time", concurrency=4)


@slow.step
async def work(told: Slow, ctx: StepContext) -> Any:
    note("began", ctx)
    try:
        await asyncio.sleep(told.pause_s)
        await at(told.gate)
    except asyncio.CancelledError:
        note("cancelled", ctx)
        raise
    note("did", ctx)
    returned = ctx.step_id if told.returns is None else told.returns
    if told.adds is not None:
        return Result(returned, amend=Amendment.model_validate({"add": told.adds}))
    return Result(returned, usage=Usage(output_tokens=told.tokens)) if told.tokens else returned


async def at(gate: str | None) -> None:
    """Wait until a file is there; a look at a file is short enough for the loop."""
    while gate is not None and not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110
        await asyncio.sleep(POLL_S)


def note(what: str, ctx: StepContext) -> None:
    """Leave a line: one write, so that lines of several processes stay whole."""
    line = f"{what} {ctx.run_id} {ctx.step_id} {ctx.attempt} {os.getpid()}\n"
    descriptor = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Throttled(BaseModel):
    """What a throttled step is told."""

    limited_s: float | None = None  # the provider refuses the first call, and says how long


throttled = Agent("throttled", description="Uses a provider with a limit", concurrency=4)


@throttled.step
async def call_provider(told: Throttled, ctx: StepContext) -> str:
    """Leave lines that say when it was called."""
    mark = f"refused-{ctx.run_id}"
    if told.limited_s is not None and not os.path.exists(mark):  # noqa: ASYNC240, PTH110
        os.close(os.open(mark, os.O_CREAT))
        note("refused", ctx)
        raise TransientError(
            "too many requests", code="rate_limited", retry_after_s=told.limited_s, cooldown=True
        )
    note(f"called-{time.time():.3f}", ctx)
    return ctx.step_id


undoable = Agent("undoable", description="Does at once, and takes its time to undo it")


@undoable.step
def do(told: Slow, ctx: StepContext) -> Slow:
    note("did", ctx)
    return told


@undoable.compensate
async def undo(told: Slow, ctx: StepContext) -> None:
    note("undoing", ctx)
    await at(told.gate)
    note("undid", ctx)


metered = Agent(
    "metered",
    description="Uses a provider with a quota",
    concurrency=8,
    limits=[Limit("provider", at_once=3)],
)


@metered.step
async def use_provider(ctx: StepContext) -> str:
    """Leave lines that say from when until when it was used."""
    note(f"from-{time.time():.4f}", ctx)
    await asyncio.sleep(0.25)
    note(f"until-{time.time():.4f}", ctx)
    return ctx.step_id


careful = Agent("careful", description="Asks once, and then takes its time")


@careful.step
async def asks_once(told: Slow, ctx: StepContext) -> Any:
    def ask() -> str:
        note("asked", ctx)
        return f"the answer of {os.getpid()}"

    answer = await ctx.once("ask", ask)
    note("began", ctx)
    await at(told.gate)
    return answer


clerk = Agent("clerk", description="Books, and then waits")


@clerk.tool
def book(what: str, ctx: StepContext) -> str:
    """Books something."""
    note("booked", ctx)
    return f"booked {what}"


@clerk.tool
async def wait_for(gate: str, ctx: StepContext) -> str:
    """Waits until a gate is open."""
    note("began", ctx)
    await at(gate)
    return f"{gate} is open"


odd = Agent("odd", description="Does what tools should not do")


@odd.tool
def raises(text: str) -> str:
    """Raises an error that nobody expects."""
    raise LookupError(f"no shelf for {text!r}")


@odd.tool
def refuses(text: str) -> str:
    """Says in so many words that it cannot be done."""
    raise StepFailed(f"{text} is sold out", code="sold_out")


@odd.tool
def comes_round(ctx: StepContext) -> int:
    """Works at the third attempt."""
    if ctx.attempt < 3:
        raise TransientError("the warehouse is closed", code="closed", retry_after_s=0.05)
    return ctx.attempt


@odd.tool
async def hangs() -> int:
    """Never returns."""
    await asyncio.Event().wait()
    return 1


@odd.tool
def blocks() -> int:
    """Never returns either, and holds a thread."""
    threading.Event().wait()
    return 1


@odd.tool
def wrong_type() -> int:
    """Promises a number."""
    return "many"  # type: ignore[return-value]


@odd.tool
def unserialisable() -> Any:
    """Returns what JSON has no word for."""
    return {"lock": threading.Lock()}


@odd.tool
def not_a_number() -> Any:
    """Returns a NaN, well hidden."""
    return {"rows": [1.0, math.nan]}


@odd.tool
def fine() -> str:
    """Works."""
    return "fine"


bulky = Agent("bulky", description="Returns and takes large texts")


@bulky.tool
def large(megabytes: int) -> str:
    """Returns a text of so many millions of letters."""
    return "abcdefghij" * (100_000 * megabytes)


@bulky.tool
def measure(text: str) -> int:
    """Counts letters."""
    return len(text)
