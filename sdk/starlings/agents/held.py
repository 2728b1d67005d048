"""What is kept of a step that waits: small, and enough for any instance to look after it.

It lies in the step's checkpoint as its `job`. The step's own record is done by then, and so its
task and the results that it was given are not here: what a look needs is in the handle.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, JsonValue, ValidationError

from starlings.messages import (
    AttemptCheckpoint,
    ErrorInfo,
    Model,
    StepDone,
    StepReady,
    UndecodableMessage,
)
from starlings.messages.base import AgentName, RunId, StepId, VariantName

from .attempt import LONGEST_S, limit_of
from .context import Heartbeat, StepContext
from .status import JobStatus, Phase
from .vigil import Vigil

LATEST_MS = 253_402_300_799_000  # a second before the year 10000: dates go no further
Moment = Annotated[int, Field(ge=0, le=LATEST_MS)]


def moment_of(at_ms: int) -> datetime:
    """Turn what is kept of a time into the time."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def asked_ms_of(timestamp_ms: int) -> int | None:
    """Say when a step was made ready, by the time of its record; anybody may write any time."""
    return timestamp_ms if 0 <= timestamp_ms <= LATEST_MS else None


class Attempt(Model):
    """Which attempt something was kept of."""

    run_id: RunId
    step_id: StepId
    attempt: int = Field(ge=1)

    @classmethod
    def named(cls, checkpoint: AttemptCheckpoint) -> Self | None:
        """Find its name, where the rest of what was kept cannot be read; None where that fails too.

        It is the name of the work; what was sent back from the dead letters has another one, so
        there it is what the job says of itself.
        """
        parts = dict(
            zip(("run_id", "step_id", "attempt"), checkpoint.work.split("/"), strict=False)
        )
        for said in (parts if checkpoint.work.count("/") == len(parts) - 1 else {}, checkpoint.job):
            with suppress(ValidationError):
                return cls.model_validate(said)
        return None


class Held(Attempt):
    """A job or sensor that waits; times are of the wall clock, in milliseconds since 1970."""

    agent: AgentName
    variant: VariantName | None = None
    generation: int = Field(default=0, ge=0)
    handle: JsonValue = None
    began_ms: Moment
    asked_ms: Moment | None = None
    deadline_ms: Moment | None = None
    heartbeat_s: float | None = Field(default=None, gt=0, le=LONGEST_S)
    traceparent: str | None = None
    causation_id: str | None = None
    replay: str | None = None

    @classmethod
    def of(
        cls,
        ready: StepReady,
        handle: JsonValue,
        *,
        began_ms: int,
        asked_ms: int | None = None,
        traceparent: str | None,
        causation_id: str | None,
        replay: str | None = None,
    ) -> Self:
        """Say what to keep of a step."""
        limit_s, heartbeat_s = limit_of(ready.timeouts), ready.timeouts.heartbeat_s
        return cls(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=ready.agent,
            variant=ready.variant,
            generation=ready.generation,
            handle=handle,
            began_ms=began_ms,
            asked_ms=asked_ms,
            deadline_ms=None if limit_s is None else began_ms + int(limit_s * 1_000),
            heartbeat_s=None if heartbeat_s is None else min(heartbeat_s, LONGEST_S),
            traceparent=traceparent,
            causation_id=causation_id,
            replay=replay,
        )

    @classmethod
    def read(cls, checkpoint: AttemptCheckpoint) -> Self:
        """Read what another instance kept.

        Raises:
            UndecodableMessage: it is not what it should be.
        """
        try:
            return cls.model_validate(checkpoint.job)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UndecodableMessage(
                f"what was kept of the waiting step {checkpoint.work!r} cannot be read: "
                f"{where}: {first['msg']}",
                code="handle_invalid",
            ) from None

    def kept(self) -> dict[str, Any]:
        """Write it as small as it goes."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return data

    @property
    def step(self) -> StepReady:
        """The step, as far as it is still known."""
        return StepReady(
            run_id=self.run_id,
            step_id=self.step_id,
            attempt=self.attempt,
            agent=self.agent,
            variant=self.variant,
            generation=self.generation,
        )

    def context(self, on_heartbeat: Heartbeat) -> StepContext:
        """Build what a look is given."""
        return StepContext(
            run_id=self.run_id,
            step_id=self.step_id,
            attempt=self.attempt,
            agent=self.agent,
            deadline=None if self.deadline_ms is None else moment_of(self.deadline_ms),
            asked_at=None if self.asked_ms is None else moment_of(self.asked_ms),
            replaying=self.replay is not None,
            on_heartbeat=on_heartbeat,
        )


@dataclass(slots=True, eq=False)
class Waiting:
    """One waiting step as its owner sees it; times are of the monotonic clock."""

    work: str
    partition: int
    run_id: str
    step: tuple[str, int]  # and which attempt of it; `work` is another name where it was sent back
    vigil: Vigil
    deadline: float | None
    due: float = 0.0
    heard: float = 0.0  # when the coordinator was last given a sign of life
    looking: asyncio.Task[None] | None = None  # a look that is under way
    ending: bool = False  # its end has been decided: nothing else may happen to it
    ender: asyncio.Task[None] | None = None


class Voice(Protocol):
    """Says on `events` what becomes of a waiting step; returns when that is acknowledged."""

    async def done(self, done: StepDone, held: Held | None) -> None:
        """Say that it has ended; `held` is what was kept of it, where that can be read."""

    async def progress(self, held: Held, progress: JsonValue) -> None:
        """Say how far it is."""


def cancelled(why: str) -> ErrorInfo:
    """Say that a step was told to stop."""
    return ErrorInfo(code="cancelled", message=why)


def out_of_time(held: Held) -> JobStatus:
    """Say that a step has run out of its time."""
    limit_s = ((held.deadline_ms or held.began_ms) - held.began_ms) / 1_000
    error = ErrorInfo(
        code="timeout",
        message=f"the step took longer than its limit of {limit_s:g} s (timeouts.run_s) and was "
        "stopped",
        retryable=True,
    )
    return JobStatus(Phase.FAILED, error=error)
