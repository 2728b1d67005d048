"""Facts of a run as a whole: its plan, its timers, its end.

Facts are in the past tense. Ids are deterministic wherever a decision makes them
(`run/step/attempt/type`), so that a repeated decision is recognisably the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from .base import AgentName, Message, Model, RunId, StepId, is_false, is_none
from .errors import ErrorInfo, Problem
from .plan import Plan, RunOptions
from .usage import Usage


class PlanCreated(Message):
    """The planner's plan for a run; the first one in the log is the run's plan."""

    NAME: ClassVar[str] = "plan_created"

    run_id: RunId
    request: str = ""
    plan: Plan
    options: RunOptions = Field(default_factory=RunOptions)
    tags: dict[str, str] = Field(default_factory=dict)
    model: str | None = None
    usage: Usage | None = None
    prompt: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="which prompt the model was asked with: name/version:hash of what was sent",
    )


class PlanRejected(Message):
    """No plan could be made, with every reason."""

    NAME: ClassVar[str] = "plan_rejected"

    run_id: RunId
    request: str = ""
    problems: list[Problem]
    tags: dict[str, str] = Field(default_factory=dict)
    model: str | None = None
    usage: Usage | None = None
    prompt: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="which prompt the model was asked with: name/version:hash of what was sent",
    )


class TimerKind(StrEnum):
    """What a timer stands for."""

    QUEUE = "queue"
    RUN = "run"
    HEARTBEAT = "heartbeat"
    RETRY = "retry"
    WAIT = "wait"
    UNDO_RUN = "undo_run"
    UNDO_RETRY = "undo_retry"
    REPLAN = "replan"
    DEADLINE = "deadline"
    SETTLE = "settle"


class TimerFired(Message):
    """A timer's time has come; the decision is made when this is read."""

    NAME: ClassVar[str] = "timer_fired"

    run_id: RunId
    kind: TimerKind
    step_id: StepId | None = None
    attempt: int | None = None
    due_ms: int


class StopAnnounced(Message):
    """The coordinator's `stop_requested` has been acknowledged by Kafka."""

    NAME: ClassVar[str] = "stop_announced"

    run_id: RunId
    stop_id: str


class RunOutcome(StrEnum):
    """How a run ended."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class UndoSummary(Model):
    """What became of undoing one attempt of a step."""

    attempt: int
    state: str
    tries: int = 0
    error: ErrorInfo | None = None


class StepSummary(Model):
    """One step within a run's final result."""

    step_id: StepId
    agent: AgentName
    state: str
    attempts: int = 0
    summary: str | None = None
    output: JsonValue = None
    error: ErrorInfo | None = None
    undone: list[UndoSummary] = Field(default_factory=list)
    inherited: bool = Field(
        default=False, exclude_if=is_false, description="from the run that this one is a fork of"
    )


class RunDone(Message):
    """A run's one end: all steps in plan order, and one text that combines them."""

    NAME: ClassVar[str] = "run_done"

    run_id: RunId
    outcome: RunOutcome
    text: str = ""
    output: JsonValue = Field(
        default=None, description="output of the plan's last step that was to be done"
    )
    steps: list[StepSummary] = Field(default_factory=list)
    error: ErrorInfo | None = None
    problems: list[Problem] = Field(default_factory=list)
    usage: Usage | None = None
    duration_s: float = 0.0
    generation: int = Field(default=0, ge=0, description="how often the run was reopened")


class RunSnapshot(Message):
    """A run's state as of an offset, carried forward so that its older facts may go."""

    NAME: ClassVar[str] = "run_snapshot"

    run_id: RunId
    as_of: int = Field(description="offset of the last fact that the state includes")
    plan_offset: int = Field(description="offset of the plan_created that began the run")
    state: dict[str, Any]
