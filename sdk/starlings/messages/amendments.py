"""An amendment: what an agent wants changed in the plan of the run that it works in.

It travels with the result of the agent's step, so it counts once, with that result, or not at all.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .base import Message, Model, RunId, StepId, is_empty, is_none
from .errors import Problem
from .plan import Step


class Amendment(Model):
    """Steps to add, to put in place of others of the same ids, and to leave out.

    A step amends only what has not begun. Where a run is planned anew, steps that have begun may be
    named as well: they, and what was built on them, are undone first.
    """

    add: list[Step] = Field(default_factory=list)
    replace: list[Step] = Field(
        default_factory=list, description="each in place of the step of its id"
    )
    remove: list[StepId] = Field(default_factory=list)
    invalidate: list[StepId] = Field(
        default_factory=list,
        exclude_if=is_empty,
        description="to be undone with all that was built on them, and done again",
    )
    join: bool = Field(
        default=True,
        description="what depends on the step that asks for this waits for the added steps as "
        "well, and gets the results of those on which no added step depends",
    )
    reason: str = ""


class PlanAmended(Message):
    """An amendment has been looked at: every agent that it names is known."""

    NAME: ClassVar[str] = "plan_amended"

    run_id: RunId
    step_id: StepId | None = Field(
        default=None, description="the step whose result brought it; None: the planner"
    )
    attempt: int = 0
    replan: int | None = Field(
        default=None, exclude_if=is_none, description="which time the run is planned anew"
    )
    amendment: Amendment


class AmendmentRejected(Message):
    """An amendment makes no sense; the run goes on as it was planned."""

    NAME: ClassVar[str] = "amendment_rejected"

    run_id: RunId
    step_id: StepId | None = None
    attempt: int = 0
    replan: int | None = Field(
        default=None, exclude_if=is_none, description="which time the run is planned anew"
    )
    problems: list[Problem]
