"""A fork: a run that takes over results of another one, and goes on from there otherwise.

`run_forked` begins the new run, as `plan_created` begins one that is planned. It brings all that it
takes over along, so whoever reads the log of the new run has no need of the other's.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, JsonValue

from .base import Message, Model, RunId, StepId, is_empty, is_false
from .plan import Plan, RunOptions


class InheritedResult(Model):
    """What a step has come to in the run that was forked; it is not done again."""

    step_id: StepId = Field(description="of the plan, or an item of one of its lists: do[3]")
    output: JsonValue = None
    summary: str | None = None
    skipped: bool = Field(
        default=False, exclude_if=is_false, description="a condition was false; no output"
    )


class RunForked(Message):
    """Somebody begins a run on results of another one, which stays as it is."""

    NAME: ClassVar[str] = "run_forked"

    run_id: RunId
    from_run: RunId
    from_offset: int = Field(
        ge=0, description="offset of the last fact of that run that was looked at"
    )
    request: str = ""
    plan: Plan
    options: RunOptions = Field(default_factory=RunOptions)
    tags: dict[str, str] = Field(default_factory=dict)
    inherited: list[InheritedResult] = Field(
        default_factory=list,
        exclude_if=is_empty,
        description="none without those of all steps that it depends on",
    )
    changed: list[str] = Field(
        default_factory=list, description="what is otherwise than in that run, for people"
    )
    requested_by: str = ""
