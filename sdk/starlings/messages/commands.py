"""What people and clients want of a run, and what the coordinator wants of agents.

Commands about runs are facts on `events`, so that what becomes of them follows from their place in
the log. `stop_requested` goes to every running instance, on `control`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, JsonValue

from .base import Message, RunId, SignalName, StepId

REPLAN_LIMIT_CHARS = 20_000


class CancelRequested(Message):
    """Somebody wants a run to end now."""

    NAME: ClassVar[str] = "cancel_requested"

    run_id: RunId
    reason: str = ""
    requested_by: str = ""


class PauseRequested(Message):
    """Somebody wants a run to release no more steps for now."""

    NAME: ClassVar[str] = "pause_requested"

    run_id: RunId
    reason: str = ""
    requested_by: str = ""


class ResumeRequested(Message):
    """Somebody wants a paused run to go on."""

    NAME: ClassVar[str] = "resume_requested"

    run_id: RunId
    requested_by: str = ""


class RetryRequested(Message):
    """Somebody wants a run that ended badly to go on from where it failed.

    A run that has ended may have left the memory of its coordinator long ago, and its facts the
    log's tail. So the word brings the run along: its state as of its end, as a snapshot has it.
    """

    NAME: ClassVar[str] = "retry_requested"

    run_id: RunId
    step_id: StepId | None = Field(default=None, description="None: every step that failed")
    compensation: bool = Field(default=False, description="undo again, instead of doing again")
    input: JsonValue = Field(default=None, description="instead of the step's own input")
    requested_by: str = ""
    generation: int = Field(ge=1, description="how often the run will have been reopened")
    plan_offset: int = Field(description="offset of the plan_created that began the run")
    state: dict[str, Any] = Field(description="the run as of its end")


class ReplanRequested(Message):
    """Somebody wants the plan of a run changed, in words; the planner is asked how."""

    NAME: ClassVar[str] = "replan_requested"

    run_id: RunId
    text: str = Field(min_length=1, max_length=REPLAN_LIMIT_CHARS)
    requested_by: str = ""


class ApprovalGiven(Message):
    """A person's yes or no; the first one counts."""

    NAME: ClassVar[str] = "approval_given"

    run_id: RunId
    step_id: StepId
    approved: bool
    comment: str = ""
    given_by: str = ""


class SignalReceived(Message):
    """A word from outside, for the step that waits for it, now or later."""

    NAME: ClassVar[str] = "signal_received"

    run_id: RunId
    name: SignalName
    payload: JsonValue = None
    sent_by: str = ""


class StopRequested(Message):
    """On `control`: running attempts of a run shall stop."""

    NAME: ClassVar[str] = "stop_requested"

    run_id: RunId
    reason: str = ""
    attempts: dict[StepId, int] | None = Field(
        default=None, description="up to which attempt, by step; None: every step of the run"
    )
    compensation: bool = Field(
        default=False, description="`attempts` are numbers of tries to undo; else forward attempts"
    )
    undoing: int | None = Field(
        default=None, description="which attempt those tries are to undo; None: any of the step"
    )
    generation: int = Field(default=0, ge=0, description="of the run; later ones may go on")
