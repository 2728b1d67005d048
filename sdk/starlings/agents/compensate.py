"""One try to undo one attempt of a step: the same code on Kafka, in a test and in a notebook.

Like `execute`, this never raises for the compensation's own failure. What is undone may never have
happened, or may have been undone before (a repeat, an earlier try that was not heard of): a
compensation has to bear both, and gets an idempotency key that is the same for every try.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from pydantic import JsonValue

from starlings.choreography.context import resolve
from starlings.messages import (
    Compensation,
    CompensationDone,
    CompensationReady,
    ErrorInfo,
    StepFailed,
    StepOutcome,
    StepReady,
)

from .agent import Agent
from .attempt import attempted, deadline_of, limit_of, now_utc, summary_of
from .context import StepContext, compensation_context
from .model_port import ModelPort, Spent
from .toolplan import run_named_tool
from .values import Result

ENDS_WITHIN_S = 30.0


async def execute_compensation(
    agent: Agent,
    ready: CompensationReady,
    *,
    model: ModelPort | None = None,
    instance: str = "",
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = now_utc,
    replaying: bool = False,
) -> CompensationDone:
    """Try once to undo an attempt of a step, within the run timeout.

    Args:
        agent: the agent that does it.
        ready: the work.
        model: asked as `ctx.model`.
        instance: which instance of the agent this is.
        clock: monotonic seconds, for the duration.
        now: wall clock, for the deadline that the compensation is told.
        replaying: whether it is a replay that asks for it.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside.
    """
    began = clock()
    spent = Spent()
    deadline = deadline_of(ready.timeouts, now())
    ctx = compensation_context(
        ready, deadline=deadline, model=model, spent=spent, replaying=replaying
    )
    work = _undo(agent, ready, ctx, spent)
    limit_s = limit_of(ready.timeouts)
    result, error = await attempted(work, ctx, limit_s=limit_s, what="compensation")
    if result is not None:
        spent.add(result.usage if ready.tool is None else None)
    return CompensationDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        number=ready.number,
        agent=agent.name,
        outcome=StepOutcome.OK if error is None else StepOutcome.ERROR,
        output=result.output if result else None,
        summary=summary_of(result) if result else None,
        error=error,
        usage=spent.usage,
        instance=instance,
        duration_s=max(clock() - began, 0.0),
    )


def not_undone(
    ready: CompensationReady,
    error: ErrorInfo,
    *,
    outcome: StepOutcome = StepOutcome.ERROR,
    instance: str = "",
) -> CompensationDone:
    """Say that a try ended without its compensation having been run to its end."""
    return CompensationDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        number=ready.number,
        agent=ready.agent,
        outcome=outcome,
        error=error,
        instance=instance,
    )


def stopped(ready: CompensationReady, why: str, *, instance: str = "") -> CompensationDone:
    """Say that a try was stopped."""
    error = ErrorInfo(code="cancelled", message=why, retryable=True)
    return not_undone(ready, error, outcome=StepOutcome.CANCELLED, instance=instance)


def still_running(ready: CompensationReady, *, instance: str = "") -> CompensationDone:
    """Say that an attempt cannot be undone yet, since it does not heed that it shall stop."""
    error = ErrorInfo(
        code="still_running",
        message=f"attempt {ready.attempt} of step {ready.step_id!r} was told to stop and is still "
        "at work, so undoing it has to wait; let the step end when it is cancelled",
        retryable=True,
    )
    return not_undone(ready, error, instance=instance)


def unknown_compensation(agent: Agent) -> Compensation | None:
    """Say what undoes an attempt that was stopped: nobody knows what it has done by then."""
    undoes = agent.compensation_function
    return Compensation(agent=agent.name) if undoes is not None and undoes.takes_unknown else None


def patience_s(ready: CompensationReady) -> float:
    """Say how long a compensation waits for the attempt that it undoes to end."""
    return min(limit_of(ready.timeouts) or ENDS_WITHIN_S, ENDS_WITHIN_S)


async def _undo(agent: Agent, ready: CompensationReady, ctx: StepContext, spent: Spent) -> Result:
    if ready.tool is not None:
        return await run_named_tool(agent, _resolved(ready, None), ctx, spent)
    if agent.compensation_function is not None:
        return await agent.compensation_function.run(_input_of(ready), ctx)
    raise StepFailed(
        f"agent {agent.name!r} cannot undo steps: it has no @agent.compensate; give it one, or "
        "name a `tool` of it, with `args`, in the compensation",
        code="no_compensation",
    )


def _input_of(ready: CompensationReady) -> JsonValue:
    """Say what is undone: a step's own output is data, in which templates mean nothing."""
    outputs = {result.step_id: result.output for result in ready.context}
    if ready.step_id in outputs and outputs[ready.step_id] == ready.input:
        return ready.input
    return _resolved(ready, ready.input).input


def _resolved(ready: CompensationReady, given: JsonValue) -> StepReady:
    """Replace the templates in arguments and input by what they stand for."""
    return resolve(
        StepReady(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=ready.agent,
            input=given,
            tool=ready.tool,
            args=ready.args,
            context=ready.context,
        )
    )
