"""Agents for forks: one asks a model, one acts on the world and can take that back."""

from __future__ import annotations

import os
from pathlib import Path

from starlings import Agent, StepContext, StepFailed

ACTS = Path("acts.log")  # in the folder of the process
LARGE = 300_000

poet = Agent("poet", description="Writes")
clerk = Agent("clerk", description="Books, and takes it back")


@poet.step
async def write(task: str, ctx: StepContext) -> dict[str, str | None]:
    text = await ctx.model.text(task, instructions="You write.")
    variant = os.environ.get("STARLINGS_VARIANT")
    return {"text": text, "variant": variant, "key": ctx.idempotency_key}


def _note(line: str) -> None:
    with ACTS.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@clerk.step
async def book(task: str, ctx: StepContext) -> str:
    if "fail" in task:
        raise StepFailed("the office is closed", code="closed")
    _note(f"book {ctx.idempotency_key}")
    return "x" * LARGE if "large" in task else f"booked by {ctx.idempotency_key}"


@clerk.compensate
async def unbook(booking: str, ctx: StepContext) -> None:
    _note(f"unbook {ctx.idempotency_key}")
