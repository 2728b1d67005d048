"""The one tree of errors, and how an error looks on the wire.

Readers branch on `code`, never on class names; whether something may be tried again is data on the
error (`retryable`, `retry_after_s`), never a list of classes kept somewhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

MESSAGE_LIMIT = 4_000


class ErrorInfo(BaseModel):
    """An error as it travels on Kafka."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cooldown: bool = Field(
        default=False, description="a provider's limit or outage: all its users had better wait"
    )
    causes: list[str] = Field(default_factory=list)


class StarlingsError(Exception):
    """Root of every error that Starlings raises on purpose."""

    code = "error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        cooldown: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.retryable = type(self).retryable if retryable is None else retryable
        self.retry_after_s = retry_after_s
        self.cooldown = cooldown


class ConfigError(StarlingsError):
    """A setting is missing or wrong; the program exits at start, naming it."""

    code = "config"


class UndecodableMessage(StarlingsError):  # noqa: N818 - named for what it is, as Kafka does
    """A message that cannot be read; it goes to the dead letters untouched."""

    code = "undecodable"


class StepFailed(StarlingsError):  # noqa: N818 - raised by agent authors, reads as a sentence
    """A step cannot be done; becomes `step_done` with outcome `error`."""

    code = "step_failed"


class TransientError(StarlingsError):
    """Something outside failed and may work later."""

    code = "transient"
    retryable = True


class ResourceExhausted(StarlingsError):  # noqa: N818 - raised by agent authors, as above
    """A step needs more memory, disk or the like than this instance has.

    Tried again only where the retry policy names a larger variant of the agent (`escalate`).
    """

    code = "resource_exhausted"


class InvariantBroken(StarlingsError):  # noqa: N818 - a statement about our own code
    """Our own bug: the run is parked with a report, the others go on."""

    code = "invariant_broken"


class Problem(BaseModel):
    """One thing wrong with a plan, and how to mend it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str
    message: str
    remedy: str
    step: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        """Say where, what and how to mend it, in one line."""
        where = ": ".join(p for p in (self.step and f"step {self.step!r}", self.field) if p)
        return (
            f"{where}: {self.message} ({self.remedy})"
            if where
            else f"{self.message} ({self.remedy})"
        )


class PlanInvalid(StarlingsError):  # noqa: N818 - becomes the fact `plan_rejected`
    """A plan with problems: all of them, not the first."""

    code = "plan_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"the plan has {count}:\n{lines}")


def error_info(error: BaseException) -> ErrorInfo:
    """Describe any exception for the wire, with its chain of causes."""
    causes: list[str] = []
    seen = {id(error)}
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen and len(causes) < 5:  # noqa: PLR2004
        seen.add(id(cause))
        causes.append(f"{type(cause).__name__}: {cause}"[:MESSAGE_LIMIT])
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, StarlingsError):
        return ErrorInfo(
            code=error.code,
            message=str(error)[:MESSAGE_LIMIT],
            retryable=error.retryable,
            retry_after_s=error.retry_after_s,
            cooldown=error.cooldown,
            causes=causes,
        )
    code = ResourceExhausted.code if isinstance(error, MemoryError) else "unexpected"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ErrorInfo(code=code, message=text[:MESSAGE_LIMIT], retryable=True, causes=causes)


class CommandRefused(StarlingsError):  # noqa: N818 - says what is the case
    """As the run stands, the command can change nothing; it says why."""

    code = "command_refused"
