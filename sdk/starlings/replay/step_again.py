"""A recorded attempt, run once more by the code that agents run, and compared with what it gave.

Nothing is published here. A job is not created again unless all is live: it is looked at once, by
the handle that was recorded; likewise a sensor, whose handle has what it remembered. Neither is
ever ended for having been looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from starlings.agents import Agent
from starlings.agents.attempt import attempted, deadline_of, limit_of, now_utc
from starlings.agents.call_record import A_CALL, HANDLE
from starlings.agents.context import Heartbeat, no_heartbeat, step_context
from starlings.agents.execute import execute, step_done
from starlings.agents.model_port import ModelPort, Spent
from starlings.agents.values import Result
from starlings.agents.waiting import WaitingAgent, outcome_of
from starlings.messages import KeptAnswers, StepDone, StepFailed, StepReady

from .recorded_attempt import RecordedAttempt
from .recorded_calls import Answers, RecordedCalls

INSTANCE = "replay"
_COMPARED = ("outcome", "output", "compensation", "amendment", "replan")


@dataclass(frozen=True)
class Difference:
    """One thing that came out otherwise."""

    field: str
    recorded: JsonValue
    now: JsonValue


@dataclass(frozen=True)
class Again:
    """What came of an attempt that was run again."""

    done: StepDone
    calls: RecordedCalls


async def run_again(
    agent: Agent,
    attempt: RecordedAttempt,
    *,
    answers: Answers = Answers.RECORDED,
    refuse_effects: bool = False,
    model: ModelPort | None = None,
    heartbeat: Heartbeat = no_heartbeat,
    replaying: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Again:
    """Run an attempt again.

    Args:
        agent: the agent that does it.
        attempt: what the log tells of it.
        answers: where the answers of its calls come from.
        refuse_effects: whether calls that could have an effect are never made.
        model: asked where the record does not answer.
        heartbeat: called with each sign of life.
        replaying: what `ctx.replaying` says.
        clock: monotonic seconds, for the duration.
    """
    kept = attempt.done.kept if attempt.done is not None else None
    calls = RecordedCalls(
        kept, answers=answers, refuse_effects=refuse_effects, why_none=attempt.why_no_end
    )
    with calls.within():
        if isinstance(agent, WaitingAgent) and _is_only_looked_at(agent, kept, calls):
            return Again(await _looked_at(agent, attempt.ready, calls, clock=clock), calls)
        done = await execute(
            agent,
            attempt.ready,
            model=model,
            instance=INSTANCE,
            heartbeat=heartbeat,
            clock=clock,
            replaying=replaying,
        )
    return Again(done, calls)


def _is_only_looked_at(agent: WaitingAgent, kept: KeptAnswers | None, calls: RecordedCalls) -> bool:
    """Tell whether nothing is begun again: its handle is known, or a beginning is refused."""
    known = kept is not None and HANDLE in kept.answers and calls.answers is not Answers.LIVE
    refused = calls.refuses_effects and agent.kind == "job"
    return known or refused or calls.answers is Answers.RECORDED


async def _looked_at(
    agent: WaitingAgent, ready: StepReady, calls: RecordedCalls, *, clock: Callable[[], float]
) -> StepDone:
    """Look once at what was begun then."""
    began, spent = clock(), Spent()
    deadline = deadline_of(ready.timeouts, now_utc())
    ctx = step_context(ready, deadline=deadline, on_heartbeat=no_heartbeat, replaying=True)

    async def look() -> Result:
        found = calls.find(HANDLE)
        if found is None:
            calls.permit(HANDLE, A_CALL, void=False)
            raise RuntimeError("a beginning that is not refused is made elsewhere")
        seen = await agent.look(found.answer, ctx)
        if seen.status is None or not seen.status.ended:
            said = seen.trouble.message if seen.trouble else "it has not ended"
            raise StepFailed(f"a look at the {agent.kind} of then: {said}", code="not_ended")
        result, error = outcome_of(seen.status, ctx, f"the {agent.kind}")
        if error is not None:
            raise StepFailed(error.message, code=error.code, retryable=error.retryable)
        return result

    result, error = await attempted(look(), ctx, limit_s=limit_of(ready.timeouts), what="step")
    if result is not None:
        spent.add(result.usage)
    return step_done(
        agent, ready, result, error, spent=spent, instance=INSTANCE, duration_s=clock() - began
    )


def without_limit(attempt: RecordedAttempt) -> RecordedAttempt:
    """Give an attempt all the time that it takes."""
    limits = attempt.ready.timeouts.model_copy(update={"run_s": None})
    return replace(attempt, ready=attempt.ready.model_copy(update={"timeouts": limits}))


def differences(recorded: StepDone, now: StepDone) -> list[Difference]:
    """List what came out otherwise; duration, usage and words of a summary are no difference."""
    mine, theirs = told(recorded), told(now)
    found = [
        Difference(name, mine.get(name), theirs.get(name))
        for name in _COMPARED
        if mine.get(name) != theirs.get(name)
    ]
    if _error_of(recorded) != _error_of(now):
        found.append(Difference("error", _error_of(recorded), _error_of(now)))
    return found


def told(done: StepDone) -> dict[str, Any]:
    """Write an end as JSON has it, without its record."""
    data: dict[str, Any] = done.model_dump(mode="json", exclude={"kept"})
    return data


def _error_of(done: StepDone) -> JsonValue:
    if done.error is None:
        return None
    return {
        "code": done.error.code,
        "message": done.error.message,
        "retryable": done.error.retryable,
    }
