"""One attempt of one step: the same code on Kafka, in a test and in a notebook.

`execute` never raises for the step's own failure: whatever goes wrong becomes the error of the
`StepDone` it returns. Only a cancellation from outside passes through, for the caller to judge, as
do `KeyboardInterrupt` and the like.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from starlings.messages import (
    Compensation,
    ErrorInfo,
    StepDone,
    StepFailed,
    StepOutcome,
    StepReady,
)

from .agent import Agent
from .attempt import attempted, deadline_of, limit_of, now_utc, summary_of
from .call_record import CallRecord
from .compensate import unknown_compensation
from .context import Heartbeat, StepContext, no_heartbeat, resolved, step_context
from .model_port import ModelPort, Spent
from .toolplan import run_named_tool, run_tool_plan
from .values import Result
from .vigil import see_through
from .waiting import Pause, WaitingAgent

__all__ = ["ModelPort", "cancelled", "execute"]

Clock = Callable[[], float]


async def execute(
    agent: Agent,
    ready: StepReady,
    *,
    model: ModelPort | None = None,
    instance: str = "",
    heartbeat: Heartbeat | None = None,
    clock: Clock = time.monotonic,
    now: Callable[[], datetime] = now_utc,
    pause: Pause = asyncio.sleep,
    replaying: bool = False,
) -> StepDone:
    """Do one attempt of a step, within its run timeout.

    Args:
        agent: the agent that does it.
        ready: the work.
        model: asked where the agent lets a model choose its tools, and as `ctx.model`.
        instance: which instance of the agent this is.
        heartbeat: called with each sign of life that the step gives.
        clock: monotonic seconds, for the duration.
        now: wall clock, for the deadline that the step is told.
        pause: waits so many seconds, between two looks at a job or sensor.
        replaying: whether it has been made before, and is run again to look at it.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside.
    """
    began = clock()
    deadline = deadline_of(ready.timeouts, now())
    spent = Spent()
    beat = heartbeat or no_heartbeat
    ctx = step_context(
        ready,
        deadline=deadline,
        on_heartbeat=beat,
        model=model,
        spent=spent,
        replaying=replaying,
    )
    work = _do(agent, ready, ctx, spent, pause=pause)
    result, error = await attempted(work, ctx, limit_s=limit_of(ready.timeouts), what="step")
    if result is not None:
        spent.add(result.usage if not agent.tools else None)
    return step_done(
        agent,
        ready,
        result,
        error,
        spent=spent,
        instance=instance,
        duration_s=clock() - began,
        record=ctx.memory.record,
    )


def step_done(
    agent: Agent,
    ready: StepReady,
    result: Result | None,
    error: ErrorInfo | None,
    *,
    spent: Spent,
    instance: str,
    duration_s: float,
    outcome: StepOutcome | None = None,
    record: CallRecord | None = None,
) -> StepDone:
    """Say how an attempt ended: with a result, or with an error."""
    return StepDone.trusted(  # the result was checked, and may be large
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=agent.name,
        outcome=outcome or (StepOutcome.OK if error is None else StepOutcome.ERROR),
        output=result.output if result else None,
        summary=summary_of(result) if result else None,
        error=error,
        calls=spent.calls,
        usage=spent.usage,
        prompts=spent.prompts or None,
        compensation=_compensation(agent, result) if result else None,
        amendment=result.amend if result else None,
        replan=result.replan if result else None,
        kept=record.told() if record is not None and agent.records_calls else None,
        variant=ready.variant,
        instance=instance,
        duration_s=max(duration_s, 0.0),
    )


def cancelled(
    agent: Agent,
    ready: StepReady,
    why: str,
    *,
    instance: str,
    begun: bool,
    code: str = "cancelled",
) -> StepDone:
    """Say that an attempt was stopped; one that had begun may have to be undone."""
    return StepDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=agent.name,
        outcome=StepOutcome.CANCELLED,
        error=ErrorInfo(code=code, message=why),
        compensation=unknown_compensation(agent) if begun else None,
        variant=ready.variant,
        instance=instance,
    )


async def _do(
    agent: Agent,
    ready: StepReady,
    ctx: StepContext,
    spent: Spent,
    *,
    pause: Pause,
) -> Result:
    ready, ctx = resolved(ready, ctx)
    if isinstance(agent, WaitingAgent):
        return await see_through(agent, ready, ctx, pause=pause)
    if agent.step_function is not None:
        return await agent.step_function.run(ready, ctx)
    if not agent.takes_steps:
        raise StepFailed(
            f"agent {agent.name!r} takes no steps: it only reacts to {', '.join(agent.reactions)}; "
            "emit such an event, as with `starlings emit`, or in a test with LocalChoreography",
            code="takes_no_steps",
        )
    if ready.tool is not None:
        return await run_named_tool(agent, ready, ctx, spent)
    if agent.strategy is not None:
        return await agent.strategy.run(agent, ready, ctx)
    return await run_tool_plan(agent, ready, ctx, spent)


def _compensation(agent: Agent, result: Result) -> Compensation | None:
    """Say what would undo a step that went well: its own word, else the agent's @compensate."""
    if isinstance(result.undo, Compensation):
        return result.undo
    return Compensation(agent=agent.name) if result.undo and agent.compensates else None
