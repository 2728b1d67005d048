"""What authors of jobs and sensors answer when they are asked how far something is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import ConfigDict

from starlings.messages import Compensation, ErrorInfo, StarlingsError, StepFailed, Usage


class Phase(StrEnum):
    """How far a job is. The last three are ends: the first of them that is seen counts."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


@dataclass(frozen=True)
class JobStatus:
    """How far a job is, as its `get` tells.

    Attributes:
        phase: `pending`, `running`, `succeeded`, `failed` or `cancelled` (by somebody else).
        output: of a job that succeeded; JSON-serialisable.
        error: of a job that failed: an error, or its text.
        progress: anything JSON-serialisable that tells people how far it is.
        retry_after_s: when to ask again, instead of the agent's own interval.
        summary: of the output, for people and models; None: derived.
        usage: what it cost at a model's provider.
        undo: what would undo a job that succeeded, as in `Result`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    phase: Phase | str
    output: Any = None
    error: ErrorInfo | StarlingsError | str | None = None
    progress: Any = None
    retry_after_s: float | None = None
    summary: str | None = None
    usage: Usage | None = None
    undo: Compensation | bool = True

    def __post_init__(self) -> None:
        """Take the phase's name for the phase.

        Raises:
            StepFailed: `output_invalid`, there is no such phase.
        """
        try:
            object.__setattr__(self, "phase", Phase(self.phase))
        except ValueError:
            raise StepFailed(
                f"there is no phase {self.phase!r}; a job is one of {', '.join(Phase)}",
                code="output_invalid",
                retryable=True,  # whoever asks again may get a better answer
            ) from None

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return Phase(self.phase).ended

    @classmethod
    def running(cls, progress: Any = None, *, retry_after_s: float | None = None) -> JobStatus:
        """Say that it is at work."""
        return cls(Phase.RUNNING, progress=progress, retry_after_s=retry_after_s)

    @classmethod
    def succeeded(
        cls,
        output: Any = None,
        *,
        summary: str | None = None,
        undo: Compensation | bool = True,
    ) -> JobStatus:
        """Say that it is done, with what result, and what would undo it."""
        return cls(Phase.SUCCEEDED, output=output, summary=summary, undo=undo)

    @classmethod
    def failed(
        cls, error: ErrorInfo | StarlingsError | str, *, retryable: bool = False
    ) -> JobStatus:
        """Say that it failed; `retryable`: a new attempt of the step may go better."""
        if isinstance(error, str):
            error = ErrorInfo(code="job_failed", message=error, retryable=retryable)
        return cls(Phase.FAILED, error=error)

    @classmethod
    def cancelled(cls, reason: str = "") -> JobStatus:
        """Say that somebody else ended it."""
        return cls(Phase.CANCELLED, error=reason or None)


@dataclass(frozen=True)
class Ready:
    """What a sensor's `poke` returns when the wait is over: the step's output."""

    output: Any = None
    summary: str | None = None


@dataclass(frozen=True)
class Waiting:
    """What a sensor's `poke` returns to say more than False: the wait goes on.

    Attributes:
        state: what the next poke finds in `ctx.state`, on whichever instance; None: as it was.
        progress: anything JSON-serialisable that tells people what is missing.
        retry_after_s: when to poke again, instead of the sensor's own interval.
    """

    state: Any = None
    progress: Any = None
    retry_after_s: float | None = None
