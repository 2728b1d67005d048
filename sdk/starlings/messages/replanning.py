"""Planning a run anew while it runs: the question to the planner, and its answer.

The coordinator asks on `requests`, with the run as it stands; the planner answers on `events`, and
the coordinator judges the answer. Each time has a number within its run.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .amendments import Amendment
from .base import Message, RunId, StepId, is_none
from .errors import Problem
from .facts import StepSummary
from .plan import Plan
from .usage import Usage


class ReplanReady(Message):
    """Work for the planner: how shall this run go on?"""

    NAME: ClassVar[str] = "replan_ready"

    run_id: RunId
    number: int = Field(ge=1)
    text: str = Field(description="what is wanted, or what went wrong")
    step_id: StepId | None = Field(
        default=None, description="the step that failed or asked for it; None: a person asked"
    )
    request: str = Field(default="", description="what the run was asked for")
    plan: Plan = Field(description="as it stands, with what was amended")
    steps: list[StepSummary] = Field(description="how far each step is, without its output")


class ReplanScheduled(Message):
    """The coordinator's `replan_ready` has been acknowledged by Kafka."""

    NAME: ClassVar[str] = "replan_scheduled"

    run_id: RunId
    number: int


class AmendmentProposed(Message):
    """The planner's answer; the first one per number counts."""

    NAME: ClassVar[str] = "amendment_proposed"

    run_id: RunId
    number: int
    amendment: Amendment | None = Field(default=None, description="None: see the problems")
    problems: list[Problem] = Field(default_factory=list, description="why there is none")
    model: str | None = None
    usage: Usage | None = None
    prompt: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="which prompt the model was asked with: name/version:hash of what was sent",
    )
