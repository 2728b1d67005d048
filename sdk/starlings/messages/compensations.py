"""The undoing of one attempt of a step: the work for an agent, and what becomes of it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, JsonValue

from .base import AgentName, Message, RunId, StepId, is_none
from .errors import ErrorInfo
from .plan import Timeouts
from .steps import DependencyResult, StepOutcome
from .usage import Usage


class CompensationReady(Message):
    """Work for one agent: one try to undo one attempt of a step."""

    NAME: ClassVar[str] = "compensation_ready"

    run_id: RunId
    step_id: StepId
    attempt: int = Field(ge=1, description="the attempt of the step that is to be undone")
    number: int = Field(ge=1, description="which try to undo it this is")
    agent: AgentName
    task: str = ""
    input: JsonValue = Field(
        default=None, description="what the step returned, unless said otherwise"
    )
    tool: str | None = None
    args: dict[str, JsonValue] | None = None
    context: list[DependencyResult] = Field(
        default_factory=list, description="the result of the step that is to be undone"
    )
    reason: str = ""
    timeouts: Timeouts = Field(default_factory=Timeouts)


class CompensationScheduled(Message):
    """The coordinator's `compensation_ready` has been acknowledged by Kafka."""

    NAME: ClassVar[str] = "compensation_scheduled"

    run_id: RunId
    step_id: StepId
    attempt: int
    number: int
    agent: AgentName
    replan: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="number of the plan that it makes way for; None: the whole run is undone",
    )


class CompensationDone(Message):
    """A try to undo a step has ended; the first end per number counts."""

    NAME: ClassVar[str] = "compensation_done"

    run_id: RunId
    step_id: StepId
    attempt: int
    number: int
    agent: AgentName
    outcome: StepOutcome
    output: JsonValue = None
    summary: str | None = None
    error: ErrorInfo | None = None
    usage: Usage | None = None
    instance: str = ""
    duration_s: float = 0.0


class CompensationAbandoned(Message):
    """A step could not be undone: it lies in `dead-letters`, and waits for `starlings retry`."""

    NAME: ClassVar[str] = "compensation_abandoned"

    run_id: RunId
    step_id: StepId
    attempt: int
    number: int
    error: ErrorInfo
