"""What jobs and sensors have in common: begun once, looked at until they end, ended on demand.

A `WaitingAgent` says how; who drives it is somebody else: `see_through` in one process, the
instance that owns the partition on Kafka. What both rely on:

- `begin` returns a handle: small JSON by which any instance can look, now or after any crash.
- `look` never raises for trouble: what may pass is told apart from what will not.
- The first end that is seen is final, whatever later looks would say.
- `end` may be called for something that has ended, that is unknown, and again and again.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from starlings.messages import (
    ErrorInfo,
    RetryPolicy,
    StarlingsError,
    StepFailed,
    StepReady,
    TransientError,
)

from .agent import DEFAULT_CONCURRENCY, Agent
from .context import StepContext
from .failures import described, failure
from .limits import Limit
from .polling import Polling
from .signatures import agent_error
from .status import JobStatus, Phase
from .tools import as_result
from .values import Result, json_value

HANDLE_LIMIT_BYTES = 64 * 1024
OPERATION_TIMEOUT_S = 5.0
LOST_AFTER_S = 3_600.0
POLLS_AT_ONCE = 32

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look has shown.

    Attributes:
        status: how far it is; None: it could not be seen, and may be later (`trouble` tells why).
        handle: the handle from now on.
        trouble: what was in the way.
        unfinished: it ended for us only: whatever was begun may be going on, and has to be ended.
    """

    status: JobStatus | None
    handle: JsonValue
    trouble: ErrorInfo | None = None
    unfinished: bool = False

    @property
    def ended(self) -> bool:
        """Whether this is the end."""
        return self.status is not None and self.status.ended


class WaitingAgent(Agent):
    """An agent whose steps wait for something outside, and hold no slot meanwhile.

    Its waiting steps leave no lag behind, by which an autoscaler would see them. So one instance
    at least has to stay: such an agent never scales from zero.
    """

    kind = "waiting"

    def __init__(
        self,
        name: str,
        *,
        description: str,
        version: str = "1",
        concurrency: int = DEFAULT_CONCURRENCY,
        polling: Polling,
        polls_at_once: int = POLLS_AT_ONCE,
        lost_after_s: float = LOST_AFTER_S,
        wait_limit_s: float | None = None,
        scales_from_zero: bool = False,
        retry: RetryPolicy | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        super().__init__(
            name,
            description=description,
            version=version,
            concurrency=concurrency,
            retry=retry,
            limits=limits,
        )
        if scales_from_zero:
            raise agent_error(
                f"agent {name!r} cannot scale from zero: its steps wait outside of Kafka and leave "
                "no lag, so one instance has to stay to look after them; leave scales_from_zero out"
            )
        if (problem := polling.problem()) is not None:
            raise agent_error(f"agent {name!r}: {problem}")
        if isinstance(polls_at_once, bool) or not isinstance(polls_at_once, int):
            raise agent_error(f"agent {name!r}: polls_at_once has to be a whole number")
        if polls_at_once < 1:
            raise agent_error(f"agent {name!r}: polls_at_once has to be 1 or more")
        self.polling = polling
        self.polls_at_once = polls_at_once
        self.lost_after_s = positive(lost_after_s, name, "lost_after_s")
        self.wait_limit_s = (
            None if wait_limit_s is None else positive(wait_limit_s, name, "timeout_s")
        )

    @abstractmethod
    async def begin(self, ready: StepReady, ctx: StepContext) -> Look:
        """Begin what is waited for; the look holds its handle.

        Raises:
            Exception: nothing has been begun, or it has been ended again.
        """

    @abstractmethod
    async def observe(self, handle: JsonValue, ctx: StepContext) -> Look:
        """Look once; raises whatever is in the way."""

    @abstractmethod
    async def end(self, handle: JsonValue, ctx: StepContext) -> None:
        """End what was begun, once; raises where it may be going on."""

    async def look(self, handle: JsonValue, ctx: StepContext) -> Look:
        """Look, and judge what was in the way: what may pass is asked about again."""
        try:
            return await self._observe_only(handle, ctx)
        except (Exception, SystemExit) as error:
            if isinstance(error, StarlingsError) and not error.retryable:
                info = failure(error, ctx, what=f"{self.kind} cannot be looked at")
                return Look(JobStatus(Phase.FAILED, error=info), handle, unfinished=True)
            return Look(None, handle, trouble=described(error))

    async def _observe_only(self, handle: JsonValue, ctx: StepContext) -> Look:
        try:
            return await self.observe(handle, ctx)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise TransientError("a CancelledError came out of it", code="cancelled") from None


def positive(seconds: float, agent: str, name: str) -> float:
    """Check a duration of an agent's definition."""
    usable = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not usable or not 0 < seconds <= 366 * 86_400:
        raise agent_error(
            f"agent {agent!r}: {name} has to be a number of seconds above 0 and up to a year"
        )
    return float(seconds)


async def within(seconds: float, doing: Awaitable[Any], what: str) -> Any:
    """Await one operation within its time.

    Raises:
        TransientError: `timeout`.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await doing
    except TimeoutError:
        if not limit.expired():
            raise
        raise TransientError(
            f"{what} took longer than its limit of {seconds:g} s", code="timeout"
        ) from None


def handle_value(value: Any, what: str) -> JsonValue:
    """Return a handle as it will be kept.

    Raises:
        StepFailed: `output_not_json` or `handle_too_large`.
    """
    handle = json_value(value, what)
    size = len(to_json(handle))
    if size > HANDLE_LIMIT_BYTES:
        raise StepFailed(
            f"{what} has {size:,} bytes as JSON, and the limit is {HANDLE_LIMIT_BYTES:,}; keep "
            "only what is needed to find it again, such as its id",
            code="handle_too_large",
        )
    return handle


def outcome_of(status: JobStatus, ctx: StepContext, what: str) -> tuple[Result, ErrorInfo | None]:
    """Say what an end means for the step."""
    if status.phase is Phase.SUCCEEDED:
        given = Result(status.output, status.summary, status.usage, status.undo)
        try:
            return as_result(given, f"the output of {what}"), None
        except StepFailed as error:
            return Result(), failure(error, ctx)
    result = Result(usage=status.usage if status.usage is not None else None)
    return result, _error_of(status, what)


def _error_of(status: JobStatus, what: str) -> ErrorInfo:
    error = status.error
    if isinstance(error, ErrorInfo):
        return error
    if isinstance(error, BaseException):
        return described(error)
    if status.phase is Phase.CANCELLED:
        said = f": {error}" if error else ""
        return described(
            StepFailed(f"{what} was cancelled by somebody else{said}", code="job_cancelled")
        )
    return described(StepFailed(str(error or f"{what} failed"), code="job_failed"))


def progress_of(look: Look) -> dict[str, Any]:
    """Say how far it is, for `step_progress`."""
    if look.status is None:
        trouble = look.trouble
        return {"phase": "unknown", "error": trouble.message if trouble else ""}
    said: dict[str, Any] = {"phase": str(look.status.phase)}
    if look.status.progress is not None:
        try:
            said["progress"] = json_value(look.status.progress, "the progress")
        except StepFailed as error:
            said["progress"] = str(error)
    return said
