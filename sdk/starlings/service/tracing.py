"""Spans of messages that a service consumes: where a message lay, and how its work ended.

Names are those of OpenTelemetry's conventions for messaging and generative AI where there is one,
else `starlings.…`. No task, input, output or argument is among them.
"""

from __future__ import annotations

from starlings.kafka.codec import Received
from starlings.messages import ErrorInfo, Usage
from starlings.telemetry import Attributes, Span, Tracer


def consumer_span(
    tracer: Tracer,
    name: str,
    received: Received,
    *,
    group_id: str | None,
    attributes: Attributes,
) -> Span:
    """Begin the span of what a message asks for; it goes on with the message's trace.

    Of a message that has none, all who read it begin the same.
    """
    origin, envelope = received.origin, received.envelope
    where: Attributes = {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": origin.topic,
        "messaging.destination.partition.id": str(origin.partition),
        "messaging.kafka.offset": origin.offset,
        "messaging.consumer.group.name": group_id,
        "messaging.message.id": envelope.id,
        "starlings.replay": envelope.replay,
    }
    return tracer.span(
        name,
        parent=envelope.traceparent,
        seed=seed_of(received),
        kind="consumer",
        attributes={**where, **attributes},
    )


def seed_of(received: Received) -> str:
    """Name a message that has no trace, the same for all who read it."""
    return f"{received.origin}@{received.timestamp_ms}"


def note_outcome(
    span: Span, outcome: str, *, usage: Usage | None, failure: ErrorInfo | None
) -> None:
    """Say how work ended, what models used for it, and why it failed where it did."""
    span.note({"starlings.outcome": outcome, **used(usage)})
    if failure is not None:
        span.fail(failure.code, failure.message)


def used(usage: Usage | None) -> Attributes:
    """Say what models used."""
    if usage is None:
        return {}
    return {
        "gen_ai.response.model": usage.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "starlings.model_calls": usage.calls,
        "starlings.cost_usd": usage.cost_usd,
    }
