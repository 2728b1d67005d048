"""An agent that fails when it is told to, and undoes its steps only when it is allowed to."""

from __future__ import annotations

import os

from pydantic import BaseModel

from starlings import Agent, StepContext, StepFailed

ALLOWED = "may_undo"


class Told(BaseModel):
    """What a step is told."""

    fails: bool = False


stubborn = Agent("stubborn", description="Does as it is told")


@stubborn.step
def do(told: Told, ctx: StepContext) -> str:
    if told.fails:
        raise StepFailed("it was told to fail")
    return ctx.step_id


@stubborn.compensate
def undo(done: str) -> None:
    if not os.path.exists(ALLOWED):  # noqa: PTH110 - as the others look
        raise StepFailed(f"{done} must not be undone yet")
