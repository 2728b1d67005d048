"""One reaction of one agent to one domain event: the same code on Kafka and in a test.

`react` never raises for the agent's own failure: errors that may pass are tried again after a
pause, and whatever remains becomes the error of the record that it returns. An event that too many
reactions lie before is not reacted to: agents that answer each other would never end.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from pydantic_core import from_json

from starlings.messages import (
    HOP_LIMIT,
    DomainEvent,
    ErrorInfo,
    EventHandled,
    EventOutcome,
    EventRef,
    RetryPolicy,
    following,
)

from .agent import Agent
from .attempt import attempted
from .event_context import EventContext
from .model_port import ModelPort, Spent
from .values import clean_text, summarise

LONGEST_PAUSE_S = 600.0  # whatever a provider asks for

_Events = tuple[DomainEvent, ...]
_NOTHING: _Events = ()
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Reaction:
    """What came of an event at one agent."""

    handled: EventHandled
    emitted: tuple[DomainEvent, ...] = ()


async def react(
    agent: Agent,
    event: DomainEvent,
    *,
    model: ModelPort | None = None,
    hop_limit: int = HOP_LIMIT,
    instance: str = "",
    hands_back: bool = False,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
    replaying: bool = False,
) -> Reaction:
    """Let an agent react to an event of a type that it listens to.

    `model` is asked as `ctx.model`; what all tries cost stands in the record. With `hands_back`, a
    provider's limit ends it at once: the caller waits with all instances.

    Raises:
        asyncio.CancelledError: the task was cancelled from outside.
    """
    began, spent = clock(), Spent()
    emitted, error, attempts = _NOTHING, _too_far(event, hop_limit), 0
    if error is None:
        emitted, error, attempts = await _tried(
            partial(_once, agent, event, model, spent, replaying),
            event,
            agent.reactions[event.type].retry,
            sleep,
            hands_back=hands_back,
        )
    handled = EventHandled(
        run_id=event.correlation_id,
        agent=agent.name,
        event_id=event.id,
        event_type=event.type,
        causation_id=event.causation_id,
        hops=event.hops,
        summary=summary_of(event),
        outcome=EventOutcome.OK if error is None else EventOutcome.ERROR,
        emitted=[EventRef(id=e.id, type=e.type, summary=summary_of(e)) for e in emitted],
        error=error,
        usage=spent.usage,
        prompts=spent.prompts or None,
        attempts=attempts,
        instance=instance,
        duration_s=max(clock() - began, 0.0),
    )
    return Reaction(handled, emitted)


def summary_of(event: DomainEvent) -> str:
    """Put an event's value into a short text; nothing where it is not JSON."""
    try:
        return clean_text(summarise(from_json(event.value)))
    except ValueError:
        return ""


async def _tried(
    once: Callable[[int], Awaitable[tuple[_Events, ErrorInfo | None]]],
    event: DomainEvent,
    retry: RetryPolicy,
    sleep: Sleep,
    *,
    hands_back: bool,
) -> tuple[_Events, ErrorInfo | None, int]:
    attempt = 1
    while True:
        emitted, error = await once(attempt)
        tries = 1 if hands_back and error and error.cooldown else retry.attempts
        if error is None or not error.retryable or attempt >= tries:
            return emitted, error, attempt
        await sleep(_pause_s(retry, attempt, event, error))
        attempt += 1


async def _once(
    agent: Agent,
    event: DomainEvent,
    model: ModelPort | None,
    spent: Spent,
    replaying: bool,  # noqa: FBT001 - bound by its place
    attempt: int,
) -> tuple[_Events, ErrorInfo | None]:
    reaction = agent.reactions[event.type]
    ctx = EventContext(
        run_id=event.correlation_id,
        event_id=event.id,
        event_type=event.type,
        agent=agent.name,
        attempt=attempt,
        causation_id=event.causation_id,
        hops=event.hops,
        replaying=replaying,
        model_port=model,
        spent=spent,
    )
    returned, error = await attempted(
        reaction.run(event, ctx),
        ctx,
        limit_s=reaction.timeout_s,
        what="reaction",
        setting="timeout_s of @agent.on",
    )
    emitted = (
        following(event, agent=agent.name, index=index, type=each.type, value=each.value)
        for index, each in enumerate(returned or [])
    )
    return tuple(emitted), error


def _pause_s(policy: RetryPolicy, attempt: int, event: DomainEvent, error: ErrorInfo) -> float:
    pause_s = min(policy.initial_s * policy.factor ** (attempt - 1), policy.max_s)
    share = zlib.crc32(f"{event.id}/{attempt}".encode()) / 2**32
    pause_s *= 1 + policy.jitter * share
    return max(pause_s, min(error.retry_after_s or 0.0, LONGEST_PAUSE_S))


def _too_far(event: DomainEvent, hop_limit: int) -> ErrorInfo | None:
    if event.hops < hop_limit:
        return None
    shown = ("… → " if event.hops > len(event.trail) else "") + " → ".join(
        (*event.trail, event.type)
    )
    return ErrorInfo(
        code="hop_limit",
        message=f"{event.hops} reactions lie before this event, and the limit is {hop_limit} "
        f"(STARLINGS_EVENT_HOP_LIMIT): {shown}; agents seem to answer each other without an end; "
        f"`starlings show {event.correlation_id}` draws the chain",
    )
