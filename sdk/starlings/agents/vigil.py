"""What follows from a look at a job or sensor: another one later, or an end.

`Vigil` decides, without a clock of its own; `see_through` drives one vigil in this process, from
its beginning to its end. On Kafka, thousands are driven side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from starlings.messages import ErrorInfo, StarlingsError, StepFailed, StepReady

from .context import StepContext
from .failures import described
from .status import JobStatus, Phase
from .values import Result
from .waiting import Look, Pause, WaitingAgent, outcome_of, progress_of

END_TRIES = 10
END_FIRST_S = 0.5
END_MOST_S = 30.0


@dataclass(slots=True)
class Vigil:
    """One thing that is waited for; times are seconds of one clock, whichever it is."""

    began: float
    looks: int = 0
    failing_since: float | None = None
    said: str = ""  # the progress that was told last

    def after(self, look: Look, agent: WaitingAgent, now: float) -> Look | float:
        """Decide what follows from a look: the end, or how long to wait for the next one."""
        if look.ended:
            return look
        self._count_trouble(look, now)
        if self.failing_since is not None and now - self.failing_since >= agent.lost_after_s:
            return _given_up(look, _lost(agent, look))
        limit_s = agent.wait_limit_s
        if limit_s is not None and now - self.began >= limit_s:
            return _given_up(look, _too_long(agent, limit_s))
        asked_s = look.trouble.retry_after_s if look.trouble else None
        if look.status is not None:
            asked_s = look.status.retry_after_s
        wait_s = agent.polling.wait_s(self.looks, retry_after_s=asked_s)
        return wait_s if limit_s is None else min(wait_s, self.began + limit_s - now)

    def news(self, look: Look) -> dict[str, Any] | None:
        """Say what a look has shown, where that is not what was said last."""
        progress = progress_of(look)
        said = repr(progress)
        if said == self.said or (not self.said and progress == {"phase": Phase.PENDING}):
            return None
        self.said = said
        return progress

    def _count_trouble(self, look: Look, now: float) -> None:
        self.looks += 1
        if look.trouble is None:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = now


def _given_up(look: Look, error: ErrorInfo) -> Look:
    return Look(JobStatus(Phase.FAILED, error=error), look.handle, unfinished=True)


def _lost(agent: WaitingAgent, look: Look) -> ErrorInfo:
    said = look.trouble.message if look.trouble else ""
    return ErrorInfo(
        code=f"{agent.kind}_lost",
        message=f"nothing could be seen of the {agent.kind} for {agent.lost_after_s:g} s "
        f"(lost_after_s of agent {agent.name!r}); the last word was: {said}",
        retryable=True,
    )


def _too_long(agent: WaitingAgent, limit_s: float) -> ErrorInfo:
    return ErrorInfo(
        code="timeout",
        message=f"it has not come about within {limit_s:g} s (timeout_s of {agent.name!r})",
    )


async def see_through(
    agent: WaitingAgent,
    ready: StepReady,
    ctx: StepContext,
    *,
    pause: Pause = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Begin, look until there is an end, and return the result, all in this process.

    Where it is cancelled meanwhile, what was begun is ended too; unless it turns out to have ended
    by itself just now, since what has happened has happened.

    Raises:
        StepFailed: it failed.
    """
    look = await begin_or_end(agent, ready, ctx, pause=pause)
    vigil = Vigil(clock())
    try:
        while not isinstance(follows := vigil.after(look, agent, clock()), Look):
            if (news := vigil.news(look)) is not None:
                await ctx.heartbeat(news)
            await pause(follows)
            look = await agent.look(look.handle, ctx)
    except asyncio.CancelledError:
        follows = await agent.look(look.handle, ctx)
        if not follows.ended or follows.unfinished:
            await end_surely(agent, look.handle, ctx, pause=pause)
            raise
    if follows.unfinished:
        await end_surely(agent, follows.handle, ctx, pause=pause)
    return _result(agent, follows, ctx)


async def begin_or_end(
    agent: WaitingAgent,
    ready: StepReady,
    ctx: StepContext,
    *,
    pause: Pause = asyncio.sleep,
    begun_again: Callable[[], bool] = lambda: False,
) -> Look:
    """Begin; where that is cancelled, wait for it all the same, and end what has been begun.

    A `create` that is interrupted leaves a job that nobody knows of. Only where `begun_again` says
    that somebody will begin the same anew, and so find it, nothing is waited for.

    Raises:
        Exception: it could not be begun.
    """
    beginning = asyncio.ensure_future(agent.begin(ready, ctx))
    try:
        return await asyncio.shield(beginning)
    except asyncio.CancelledError:
        if begun_again():
            beginning.cancel()
        (begun,) = await asyncio.gather(beginning, return_exceptions=True)
        if isinstance(begun, Look) and not begun.ended and not begun_again():
            await end_surely(agent, begun.handle, ctx, pause=pause)
        raise


def _result(agent: WaitingAgent, end: Look, ctx: StepContext) -> Result:
    if end.status is None:
        raise RuntimeError("an end has its status")
    result, error = outcome_of(end.status, ctx, f"the {agent.kind}")
    if error is None:
        return result
    raise StepFailed(
        error.message,
        code=error.code,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
    )


async def end_surely(
    agent: WaitingAgent,
    handle: JsonValue,
    ctx: StepContext,
    *,
    pause: Pause = asyncio.sleep,
    tries: int = END_TRIES,
) -> ErrorInfo | None:
    """End what was begun, again and again; say what was in the way where it may be going on."""
    wait_s = END_FIRST_S
    trouble: ErrorInfo | None = None
    for number in range(1, tries + 1):
        try:
            await agent.end(handle, ctx)
        except (Exception, SystemExit) as error:
            trouble = described(error)
            if isinstance(error, StarlingsError) and not error.retryable:
                break
            if number < tries:
                await pause(trouble.retry_after_s or wait_s)
                wait_s = min(wait_s * 2, END_MOST_S)
        else:
            return None
    if trouble is not None:
        ctx.log.error("could not be ended, and may run on", agent=agent.name, error=trouble.message)
    return trouble
