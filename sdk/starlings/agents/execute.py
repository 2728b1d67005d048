"""One attempt of one step: the same code on Kafka, in a test and in a notebook.

`execute` never raises for the step's own failure: whatever goes wrong becomes the error of the
`StepDone` it returns. Only a cancellation from outside passes through, for the caller to judge, as
do `KeyboardInterrupt` and the like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import JsonValue

from starlings.choreography.context import resolve, shorten
from starlings.messages import (
    ErrorInfo,
    StarlingsError,
    StepDone,
    StepFailed,
    StepOutcome,
    StepReady,
    TransientError,
    error_info,
)

from .agent import Agent
from .context import Heartbeat, StepContext, no_heartbeat, step_context
from .model_port import ModelPort, Spent
from .toolplan import run_named_tool, run_tool_plan
from .values import Result, clean_text, summarise

__all__ = ["ModelPort", "execute"]

LONGEST_S = 366 * 86_400.0  # clocks and event loops overflow with whatever a plan may say

Clock = Callable[[], float]


def _now() -> datetime:
    return datetime.now(UTC)


async def execute(
    agent: Agent,
    ready: StepReady,
    *,
    model: ModelPort | None = None,
    instance: str = "",
    heartbeat: Heartbeat | None = None,
    clock: Clock = time.monotonic,
    now: Callable[[], datetime] = _now,
) -> StepDone:
    """Do one attempt of a step, within its run timeout.

    Args:
        agent: the agent that does it.
        ready: the work.
        model: asked where the agent lets a model choose its tools.
        instance: which instance of the agent this is.
        heartbeat: called with each sign of life that the step gives.
        clock: monotonic seconds, for the duration.
        now: wall clock, for the deadline that the step is told.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside.
    """
    began = clock()
    limit_s = _limit_s(ready)
    deadline = None if limit_s is None else now() + timedelta(seconds=limit_s)
    ctx = step_context(ready, deadline=deadline, on_heartbeat=heartbeat or no_heartbeat)
    spent = Spent()
    result, error = await _outcome(agent, ready, ctx, spent, model=model)
    if error is None:
        spent.add(result.usage if not agent.tools else None)
    return StepDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=agent.name,
        outcome=StepOutcome.OK if error is None else StepOutcome.ERROR,
        output=result.output,
        summary=_summary(result) if error is None else None,
        error=error,
        calls=spent.calls,
        usage=spent.usage,
        instance=instance,
        duration_s=max(clock() - began, 0.0),
    )


async def _outcome(
    agent: Agent, ready: StepReady, ctx: StepContext, spent: Spent, *, model: ModelPort | None
) -> tuple[Result, ErrorInfo | None]:
    limit_s = _limit_s(ready)
    try:
        async with asyncio.timeout(limit_s) as limit:
            try:
                return await _do(agent, ready, ctx, spent, model=model), None
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                raise StepFailed(
                    "the step cancelled itself: a CancelledError came out of it", code="cancelled"
                ) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, TimeoutError) and limit.expired():
            return Result(), _failure(_timeout(limit_s), ctx)
        return Result(), _failure(error, ctx)


async def _do(
    agent: Agent, ready: StepReady, ctx: StepContext, spent: Spent, *, model: ModelPort | None
) -> Result:
    ready = resolve(ready)
    if agent.step_function is not None:
        return await agent.step_function.run(ready, ctx)
    if ready.tool is not None:
        return await run_named_tool(agent, ready, ctx, spent)
    if model is None:
        raise StepFailed(
            f"agent {agent.name!r} chooses its tools by a model, and has none; set OPENAI_API_KEY "
            "or OPENAI_BASE_URL, or name `tool` and `args` in the step",
            code="no_model",
        )
    return await run_tool_plan(agent, ready, ctx, spent, model=model)


def _limit_s(ready: StepReady) -> float | None:
    return None if ready.timeouts.run_s is None else min(ready.timeouts.run_s, LONGEST_S)


def _timeout(limit_s: float | None) -> TransientError:
    return TransientError(
        f"the step took longer than its limit of {limit_s or 0:g} s (timeouts.run_s) and was "
        "stopped",
        code="timeout",
    )


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failure(error: BaseException, ctx: StepContext) -> ErrorInfo:
    try:
        info = error_info(error)
        info = info.model_copy(
            update={
                "message": clean_text(info.message),
                "causes": [clean_text(cause) for cause in info.causes],
            }
        )
    except Exception:  # its text cannot be had: an author's class may raise in __str__
        info = ErrorInfo(code="unexpected", message=type(error).__name__, retryable=True)
    cause = error.__cause__ or error
    bug = None if isinstance(cause, StarlingsError) else cause  # its author needs the traceback
    ctx.log.warning("step failed", code=info.code, error=info.message, exc_info=bug)
    return info


def _summary(result: Result) -> str:
    given: Any = result.summary
    output: JsonValue = result.output
    return shorten(clean_text(given)) if given is not None else summarise(output)
