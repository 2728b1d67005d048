"""Facts on `events`, work on `steps.<agent>`, and words on `control` and `requests`.

Facts are in the past tense. Ids are deterministic wherever a decision makes them
(`run/step/attempt/type`), so that a repeated decision is recognisably the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, JsonValue

from .amendments import Amendment
from .base import (
    AgentName,
    Message,
    Model,
    RunId,
    StepId,
    VariantName,
    is_false,
    is_none,
)
from .errors import ErrorInfo, Problem
from .plan import (
    UNDO_QUEUE_S,
    Approval,
    Budget,
    Compensation,
    FailurePolicy,
    Plan,
    RetryPolicy,
    RunOptions,
    Share,
    Timeouts,
)
from .usage import Usage


class RunRequested(Message):
    """A client asks for a run: in plain words, or with a plan of its own."""

    NAME: ClassVar[str] = "run_requested"

    request: str = ""
    plan: Any = Field(
        default=None,
        description="a plan of its own (see plan_created) or its short form; the planner checks it",
    )
    run_id: RunId | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    max_parallel: int | None = None
    on_failure: FailurePolicy | None = None
    retry: RetryPolicy | None = None
    timeouts: Timeouts | None = None
    timeout_s: float | None = Field(default=None, gt=0)
    deadline: AwareDatetime | None = None
    undo_queue_s: float | None = Field(default=None, gt=0, description="None: an hour")
    budget: Budget | None = Field(default=None, exclude_if=is_none)
    max_replans: int | None = Field(
        default=None, ge=0, le=100, exclude_if=is_none, description="None: 2"
    )
    replan_timeout_s: float | None = Field(
        default=None, gt=0, le=86_400, exclude_if=is_none, description="None: 120"
    )
    routing: dict[AgentName, dict[VariantName, Share]] | None = None

    def options(self) -> RunOptions:
        """Collect the run's choices, with defaults for what was left out."""
        names = RunOptions.model_fields.keys()
        said = {n: v for n in names if (v := getattr(self, n)) is not None}
        return RunOptions(**{"undo_queue_s": UNDO_QUEUE_S} | said)


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


class StepOutcome(StrEnum):
    """How an attempt of a step ended."""

    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"


class ToolCall(Model):
    """One call of a tool within a step, for the record."""

    tool: str
    args: dict[str, Any] = Field(default_factory=dict)
    reasoning: str = ""
    output: JsonValue = None
    error: str | None = None


class DependencyResult(Model):
    """The result of a step that another step depends on."""

    step_id: StepId
    agent: AgentName
    summary: str
    output: JsonValue = None
    error: ErrorInfo | None = None
    skipped: bool = Field(
        default=False, exclude_if=is_false, description="a condition was false; no output"
    )


class Item(Model):
    """The item of a list that a step is done for."""

    index: int = Field(ge=0)
    value: JsonValue = None


class StepReady(Message):
    """Work for one agent: one attempt of one step."""

    NAME: ClassVar[str] = "step_ready"

    run_id: RunId
    step_id: StepId
    attempt: int = Field(ge=1)
    agent: AgentName
    task: str = ""
    input: JsonValue = None
    tool: str | None = None
    args: dict[str, JsonValue] | None = None
    context: list[DependencyResult] = Field(default_factory=list)
    item: Item | None = Field(
        default=None, exclude_if=is_none, description="{{item}} and {{index}} stand for it"
    )
    timeouts: Timeouts = Field(default_factory=Timeouts)
    variant: VariantName | None = Field(default=None, description="of the agent; None: the usual")
    generation: int = Field(default=0, ge=0, description="how often the run was reopened")

    def leaves_nulls_out(self) -> bool:
        """Tell all but "no limit", which is a null that is not the default."""
        return self.timeouts.run_s is not None


class StepScheduled(Message):
    """The coordinator's `step_ready` has been acknowledged by Kafka."""

    NAME: ClassVar[str] = "step_scheduled"

    run_id: RunId
    step_id: StepId
    attempt: int
    agent: AgentName
    variant: VariantName | None = None


class StepStarted(Message):
    """An agent has been working on an attempt for 50 ms or more."""

    NAME: ClassVar[str] = "step_started"

    run_id: RunId
    step_id: StepId
    attempt: int
    agent: AgentName
    variant: VariantName | None = None
    instance: str = ""


class StepProgress(Message):
    """A sign of life of a long attempt."""

    NAME: ClassVar[str] = "step_progress"

    run_id: RunId
    step_id: StepId
    attempt: int
    agent: AgentName
    progress: JsonValue = None


class StepDone(Message):
    """An attempt has ended; the first one per attempt counts."""

    NAME: ClassVar[str] = "step_done"

    run_id: RunId
    step_id: StepId
    attempt: int
    agent: AgentName
    outcome: StepOutcome
    output: JsonValue = None
    summary: str | None = None
    error: ErrorInfo | None = None
    calls: list[ToolCall] = Field(default_factory=list)
    usage: Usage | None = None
    prompts: list[str] | None = Field(
        default=None,
        exclude_if=is_none,
        description="which prompts a model was asked with: name/version:hash of what was sent",
    )
    compensation: Compensation | None = Field(default=None, description="what would undo it")
    amendment: Amendment | None = Field(
        default=None, exclude_if=is_none, description="of the run's plan"
    )
    replan: str | None = Field(
        default=None, exclude_if=is_none, description="why the run shall be planned anew"
    )
    variant: VariantName | None = None
    instance: str = ""
    duration_s: float = 0.0

    def leaves_nulls_out(self) -> bool:
        """Tell all but limits of a compensation or a plan, where a null may be "no limit"."""
        limits = self.compensation is not None and self.compensation.timeouts is not None
        return not limits and self.amendment is None


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


class StepSkipped(Message):
    """A step will not run: a step it depends on failed, or a condition does not hold."""

    NAME: ClassVar[str] = "step_skipped"

    run_id: RunId
    step_id: StepId
    because: StepId | None = Field(default=None, exclude_if=is_none, description="what failed")
    reason: str = ""


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


class ApprovalRequested(Message):
    """A run waits for a person's yes or no."""

    NAME: ClassVar[str] = "approval_requested"

    run_id: RunId
    step_id: StepId
    attempt: int
    approval: Approval
    context: list[DependencyResult] = Field(default_factory=list)
