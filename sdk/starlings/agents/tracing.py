"""What the spans of an agent tell: which attempt, how it ended, what it used."""

from __future__ import annotations

from starlings.kafka.codec import Received
from starlings.messages import (
    CompensationDone,
    CompensationReady,
    DomainEvent,
    EventHandled,
    StepDone,
    StepOutcome,
    StepReady,
    attempt_id,
)
from starlings.service import consumer_span, note_outcome, used
from starlings.telemetry import NO_ATTRIBUTES, Attributes, Span, Tracer

from .held import Held


def attempt_span(tracer: Tracer, received: Received, group_id: str) -> Span:
    """Begin the span of an attempt, or of a try to undo one."""
    work = received.message
    name, about = f"process {work.NAME}", NO_ATTRIBUTES
    if isinstance(work, StepReady):
        name = f"invoke_agent {work.agent}"
        about = {**_invoked(work.agent), **_attempt(work), "starlings.variant": work.variant}
    elif isinstance(work, CompensationReady):
        name, about = f"compensate {work.agent}", {**_attempt(work), "starlings.try": work.number}
    return consumer_span(tracer, name, received, group_id=group_id, attributes=about)


def note_end(span: Span, done: StepDone | CompensationDone | None, *, waits: bool) -> None:
    """Say how an attempt ended; nothing of one that was made before."""
    if done is not None:
        failure = done.error if done.outcome is StepOutcome.ERROR else None
        note_outcome(span, done.outcome.value, usage=done.usage, failure=failure)
    elif waits:
        span.note({"starlings.outcome": "waiting"})
    else:
        span.drop()


def tell_wait(tracer: Tracer, held: Held, done: StepDone, *, now_ms: int) -> None:
    """Tell of a job or sensor that has ended, by whoever sees it; twice is the same span."""
    error = done.error if done.outcome is StepOutcome.ERROR else None
    tracer.tell(
        f"wait {held.agent}",
        parent=held.traceparent,
        seed=attempt_id(held.run_id, held.step_id, held.attempt, f"wait@{held.began_ms}"),
        began_ms=held.began_ms,
        ended_ms=max(now_ms, held.began_ms),
        attributes={
            **_attempt(held),
            "starlings.variant": held.variant,
            "starlings.outcome": done.outcome.value,
            **used(done.usage),
        },
        error=None if error is None else (error.code, error.message),
    )


def reaction_span(
    tracer: Tracer, agent: str, event: DomainEvent, received: Received, group_id: str
) -> Span:
    """Begin the span of a reaction to an event."""
    about = {
        **_invoked(agent),
        "starlings.run_id": event.correlation_id,
        "starlings.agent": agent,
        "starlings.event_type": event.type,
    }
    name = f"react {agent}"
    return consumer_span(tracer, name, received, group_id=group_id, attributes=about)


def note_reaction(span: Span, handled: EventHandled) -> None:
    """Say how a reaction ended."""
    note_outcome(span, handled.outcome.value, usage=handled.usage, failure=handled.error)


def _invoked(agent: str) -> Attributes:
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}


def _attempt(work: StepReady | CompensationReady | Held) -> Attributes:
    return {
        "starlings.run_id": work.run_id,
        "starlings.step_id": work.step_id,
        "starlings.attempt": work.attempt,
        "starlings.agent": work.agent,
    }
