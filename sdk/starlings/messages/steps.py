"""One step of a run: the work for its agent, and the facts of what becomes of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, JsonValue

from .amendments import Amendment
from .base import (
    AgentName,
    Message,
    Model,
    RunId,
    StepId,
    VariantName,
    is_empty,
    is_false,
    is_none,
    is_zero,
)
from .errors import ErrorInfo
from .plan import Approval, Compensation, ModelOverride, Timeouts
from .usage import Usage


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
    model: ModelOverride | None = Field(
        default=None, exclude_if=is_none, description="how the agent's model is to be asked"
    )

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


class KeptAnswers(Model):
    """What the calls of an attempt gave: enough to run it again without making them."""

    answers: dict[str, JsonValue] = Field(
        default_factory=dict, description="by the name of the call within the step"
    )
    failures: dict[str, ErrorInfo] = Field(
        default_factory=dict, exclude_if=is_empty, description="calls that gave an error instead"
    )
    tools: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="of calls of tools: the tool's name, and a digest of the arguments",
    )
    left_out: int = Field(
        default=0,
        ge=0,
        exclude_if=is_zero,
        description="answers that are not here: secret ones, and those beyond 64 KiB in all",
    )


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
    kept: KeptAnswers | None = Field(
        default=None,
        exclude_if=is_none,
        description="what the calls gave that were made once: to run the attempt again from",
    )
    variant: VariantName | None = None
    instance: str = ""
    duration_s: float = 0.0

    def leaves_nulls_out(self) -> bool:
        """Tell all but limits of a compensation or a plan, where a null may be "no limit"."""
        limits = self.compensation is not None and self.compensation.timeouts is not None
        return not limits and self.amendment is None


class StepSkipped(Message):
    """A step will not run: a step it depends on failed, or a condition does not hold."""

    NAME: ClassVar[str] = "step_skipped"

    run_id: RunId
    step_id: StepId
    because: StepId | None = Field(default=None, exclude_if=is_none, description="what failed")
    reason: str = ""


class ApprovalRequested(Message):
    """A run waits for a person's yes or no."""

    NAME: ClassVar[str] = "approval_requested"

    run_id: RunId
    step_id: StepId
    attempt: int
    approval: Approval
    context: list[DependencyResult] = Field(default_factory=list)
