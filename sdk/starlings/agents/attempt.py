"""An author's code, run within its limit of time; what goes wrong with it becomes data.

Steps, compensations and reactions to events alike are run by this. Only a cancellation from outside
passes through, for the caller to judge, as do `KeyboardInterrupt` and the like.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import JsonValue

from starlings.choreography.context import shorten
from starlings.messages import (
    ErrorInfo,
    StepFailed,
    Timeouts,
    TransientError,
)

from .failures import Logging, failure
from .values import Result, clean_text, summarise

T = TypeVar("T")

LONGEST_S = 366 * 86_400.0  # clocks and event loops overflow with whatever a plan may say


def now_utc() -> datetime:
    """Tell the time of the wall clock."""
    return datetime.now(UTC)


def limit_of(timeouts: Timeouts) -> float | None:
    """Say how many seconds an attempt may take; None: no limit."""
    return None if timeouts.run_s is None else min(timeouts.run_s, LONGEST_S)


def deadline_of(timeouts: Timeouts, now: datetime) -> datetime | None:
    """Say when an attempt that begins now is stopped."""
    limit_s = limit_of(timeouts)
    return None if limit_s is None else now + timedelta(seconds=limit_s)


async def attempted(
    work: Awaitable[T],
    ctx: Logging,
    *,
    limit_s: float | None,
    what: str,
    setting: str = "timeouts.run_s",
) -> tuple[T | None, ErrorInfo | None]:
    """Await an author's code; return what it returned, or why it did not.

    `what` names it in errors: "step", "compensation" or "reaction"; `setting` names the limit.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside.
    """
    try:
        async with asyncio.timeout(limit_s) as limit:
            try:
                return await work, None
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                raise StepFailed(
                    f"the {what} cancelled itself: a CancelledError came out of it",
                    code="cancelled",
                ) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, TimeoutError) and limit.expired():
            return None, failure(_timeout(limit_s, what, setting), ctx, what=f"{what} failed")
        return None, failure(error, ctx, what=f"{what} failed")


def summary_of(result: Result) -> str:
    """Say what came out in a short text: the author's own, or one derived from the output."""
    given: Any = result.summary
    output: JsonValue = result.output
    return shorten(clean_text(given)) if given is not None else summarise(output)


def _timeout(limit_s: float | None, what: str, setting: str) -> TransientError:
    return TransientError(
        f"the {what} took longer than its limit of {limit_s or 0:g} s ({setting}) and was stopped",
        code="timeout",
    )


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
