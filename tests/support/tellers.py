"""An agent with real work, and candidates for it: good, different, failing and careless ones.

What is done outside leaves a line in `told.txt` in the working directory.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pydantic import BaseModel

from starlings import Agent, JobAgent, JobStatus, StepContext, StepFailed

TOLD = "told.txt"
GATE = "gate"


class Told(BaseModel):
    """What a teller is asked."""

    item: str
    filling: str = ""


def note(what: str, ctx: StepContext) -> None:
    """Leave a line, in one write."""
    line = f"{what} {ctx.run_id}/{ctx.step_id} {ctx.replaying}\n"
    descriptor = os.open(TOLD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


async def price_of(told: Told, ctx: StepContext) -> int:
    """Ask for a price, once."""

    def ask() -> int:
        note("asked", ctx)
        return len(told.item) * 10

    return int(await ctx.once("price", ask))


def teller(**options: Any) -> Agent:
    return Agent("teller", description="Tells what things cost", concurrency=4, **options)


agent = teller()


@agent.step
async def tell(told: Told, ctx: StepContext) -> dict[str, Any]:
    return {"item": told.item, "price": await price_of(told, ctx), "currency": "EUR"}


good = teller()


@good.step
async def tell_in_other_order(told: Told, ctx: StepContext) -> dict[str, Any]:
    note("tried", ctx)
    return {"currency": "EUR", "price": float(await price_of(told, ctx)), "item": told.item}


worded = teller()


@worded.step
async def tell_in_other_words(told: Told, ctx: StepContext) -> dict[str, Any]:
    price = await price_of(told, ctx)
    return {"item": told.item.upper(), "price": price, "currency": "EUR"}


raising = teller()


@raising.step
async def tell_nothing(told: Told) -> dict[str, Any]:
    if told.item == "tea":
        raise StepFailed("no idea", code="no_idea")
    await asyncio.sleep(3_600)  # until the step's time is over
    return {}


careless = teller()


@careless.step
async def tell_and_buy(told: Told, ctx: StepContext) -> dict[str, Any]:
    await ctx.once("buy", lambda: note("bought", ctx))
    return {"item": told.item}


gated = teller()
gated.concurrency = 1


@gated.step
async def tell_when_let(told: Told, ctx: StepContext) -> dict[str, Any]:
    note("let", ctx)
    while told.item != "tea" and not os.path.exists(GATE):  # noqa: ASYNC110, ASYNC240, PTH110
        await asyncio.sleep(0.02)
    return {"item": told.item, "price": await price_of(told, ctx), "currency": "EUR"}


job = JobAgent[Told]("teller", description="Begins something outside")


@job.create
async def begin(told: Told) -> Told:
    return told


@job.get
async def look(told: Told) -> JobStatus:
    return JobStatus.succeeded(told.item)


@job.delete
async def end(told: Told) -> None:
    del told
