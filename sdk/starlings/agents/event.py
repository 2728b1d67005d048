"""What authors say of their events: a model, and under which type it is known."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from starlings.messages import ConfigError, DomainEvent
from starlings.messages.domain import EVENT_TYPE_PATTERN

from .signatures import agent_error
from .values import json_value

_TYPE = re.compile(EVENT_TYPE_PATTERN)
_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Event(BaseModel):
    """A domain event: something that has happened, in an author's own words.

    Its type is the class's name in snake case, or what `name` says:
    `class TicketCreated(Event, name="ticket_created")`. Any other Pydantic model serves as well.

    Raises:
        ConfigError: where that is no usable type, when the class is made.
    """

    model_config = ConfigDict(frozen=True)

    EVENT_TYPE: ClassVar[str]

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        """Give the class its type."""
        super().__init_subclass__(**kwargs)
        cls.EVENT_TYPE = checked_type(
            _snake(cls.__name__) if name is None else name, cls.__qualname__
        )


def event_type_of(model: type[BaseModel]) -> str:
    """Name the event type that a model stands for.

    Raises:
        ConfigError: its class's name makes no usable one.
    """
    named = model.__dict__.get("EVENT_TYPE")
    return named if named is not None else checked_type(_snake(model.__name__), model.__qualname__)


def checked_type(name: object, what: str) -> str:
    """Return an event type that can be one; `what` names in errors where it comes from.

    Raises:
        ConfigError: it cannot.
    """
    if isinstance(name, str) and _TYPE.match(name):
        return name
    raise agent_error(
        f"{what}: {name!r} is no event type: it has to begin with a lower-case letter and go on "
        "with lower-case letters, digits or '_' (63 characters at most), as in ticket_created; "
        'class TicketCreated(Event, name="…") says another one than the class\'s name'
    )


def event_value(payload: Any, what: str) -> bytes:
    """Write an event's payload as its readers will see it; `what` names it in errors.

    Raises:
        StepFailed: `output_not_json` or `output_too_large`.
    """
    return to_json(json_value(payload, what))


def new_event(
    event: BaseModel | str,
    payload: Any = None,
    *,
    id: str,  # noqa: A002 - the field
    correlation_id: str | None = None,
) -> DomainEvent:
    """Make an event that nobody's reaction led to: from a model, or from a type and any JSON.

    Its run is `correlation_id`, or else it begins one of its own.

    Raises:
        ConfigError: the type is none, or an id is not usable.
        StepFailed: the payload is not JSON.
    """
    if isinstance(event, BaseModel):
        name, payload = event_type_of(type(event)), event
    else:
        name = checked_type(event, "the event")
    try:
        return DomainEvent(
            type=name,
            id=id,
            correlation_id=correlation_id or id,
            value=event_value(payload, f"the event {name}"),
        )
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        said = "; ".join(f"{p['loc'][0]} {p['input']!r}: {p['msg']}" for p in problems)
        raise ConfigError(f"the event {name} cannot be named so: {said}") from None


def _snake(name: str) -> str:
    return _WORD_BEGINS.sub("_", name).lower()
