"""Domain events: what agents tell each other where nobody plans, and the record of each reaction.

A domain event lies on `facts.<type>`. Its value is the plain JSON of its author's model; all else
stands in headers, and may be missing there. Whatever reacts to it may emit further events; they
keep its correlation id, which is the id of the run that `starlings show` draws, and name it as
their cause.

Ids of emitted events are computed from their cause, so that a reaction that is repeated after a
crash emits the same events again, and readers drop them.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import AgentName, Message, Model, RunId, is_none
from .errors import ErrorInfo
from .usage import Usage

EVENT_TYPE_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
HOP_LIMIT = 32
LONGEST_EVENT_ID = 512
TRAIL_LENGTH = 8  # how many earlier types an event names, for whoever has to find a loop
_LONGEST_HEAD = 160

EventType = Annotated[str, StringConstraints(pattern=EVENT_TYPE_PATTERN)]
EventId = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_EVENT_ID)]


class DomainEvent(Message):
    """An event of an author's own; on Kafka its type is `facts.<type>`, and `value` its value."""

    NAME: ClassVar[str] = "domain_event"

    type: EventType
    id: EventId
    correlation_id: RunId
    value: bytes = Field(description="JSON")
    causation_id: EventId | None = Field(default=None, description="the event that led to it")
    hops: int = Field(default=0, ge=0, description="how many reactions lie before it")
    trail: tuple[EventType, ...] = Field(default=(), description="types of the latest of those")


class EventRef(Model):
    """An event that a reaction emitted."""

    id: EventId
    type: EventType
    summary: str = ""


class EventOutcome(StrEnum):
    """How a reaction to an event ended."""

    OK = "ok"
    ERROR = "error"


class EventHandled(Message):
    """An agent has reacted to a domain event, or has given it up; nobody is told to do anything."""

    NAME: ClassVar[str] = "event_handled"

    run_id: RunId = Field(description="the correlation id of the event")
    agent: AgentName
    event_id: EventId
    event_type: EventType
    causation_id: EventId | None = Field(default=None, description="the event that led to it")
    hops: int = Field(default=0, ge=0, description="how many reactions lie before the event")
    summary: str = Field(default="", description="of the event")
    outcome: EventOutcome
    emitted: list[EventRef] = Field(default_factory=list)
    error: ErrorInfo | None = None
    usage: Usage | None = Field(
        default=None, exclude_if=is_none, description="of models, in all tries"
    )
    prompts: list[str] | None = Field(
        default=None,
        exclude_if=is_none,
        description="which prompts a model was asked with: name/version:hash of what was sent",
    )
    attempts: int = Field(default=1, ge=0)
    instance: str = ""
    duration_s: float = 0.0


def event_ce_type(name: str) -> str:
    """Name an event's type as CloudEvents sees it, `facts.ticket_created`."""
    return f"facts.{name}"


def emitted_id(cause: str, agent: str, index: int) -> str:
    """Id of the event that an agent emits as its `index`-th because of another one."""
    head = cause if len(cause) <= _LONGEST_HEAD else hashlib.sha256(cause.encode()).hexdigest()[:32]
    return f"{head}/{agent}/{index}"


def handled_id(event_id: str, agent: str) -> str:
    """Id of the record that an agent has reacted to an event."""
    return f"{event_id}/{agent}/{EventHandled.NAME}"


def following(
    cause: DomainEvent,
    *,
    agent: str,
    index: int,
    type: str,  # noqa: A002 - the field
    value: bytes,
) -> DomainEvent:
    """Make the event that an agent emits as its `index`-th because of another one."""
    return DomainEvent(
        type=type,
        id=emitted_id(cause.id, agent, index),
        correlation_id=cause.correlation_id,
        value=value,
        causation_id=cause.id,
        hops=cause.hops + 1,
        trail=(*cause.trail, cause.type)[-TRAIL_LENGTH:],
    )
