"""A function that reacts to domain events: what it takes, and which events it may emit.

It takes the event, validated, and an `EventContext` if it wants one. What it returns are the next
events: a Pydantic model, several of them in a list, or None. Its annotation says which, so that
their topics are there before the first of them is emitted.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from starlings.messages import DomainEvent, RetryPolicy, StepFailed

from .context import StepContext
from .event import event_type_of, event_value
from .event_context import EventContext
from .signatures import NO_VALUE, adapter, agent_error, listed_problems, read_signature
from .threads import call

TIMEOUT_S = 600.0
EMITTED_LIMIT = 1_000  # hops bound how long a chain gets, this bounds how wide


class Emitted(NamedTuple):
    """An event that a reaction returned: its type, and its value as JSON."""

    type: str
    value: bytes


class ReactionFunction:
    """One function that reacts to events."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        agent: str,
        retry: RetryPolicy,
        timeout_s: float | None,
    ) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        self.what = f"reaction {name!r} of agent {agent!r}"
        self.retry = retry
        self.timeout_s = timeout_s
        if timeout_s is not None and not timeout_s > 0:
            raise agent_error(f"{self.what}: timeout_s has to be above 0, or None for no limit")
        self._function = function
        self._signature = read_signature(function, self.what, context_type=EventContext)
        parameters = self._signature.parameters
        if len(parameters) != 1 or parameters[0].annotation is StepContext:
            raise agent_error(
                f"{self.what}: it takes one parameter for the event, as a Pydantic model for "
                "example, and one EventContext if it wants to know more"
            )
        self._parameter = parameters[0].name
        where = f"{self.what}, parameter {self._parameter!r}"
        self._adapter = adapter(parameters[0].annotation, where)
        self.emits = dict(_models(self._signature.returns, self.what))

    async def run(self, event: DomainEvent, ctx: EventContext) -> list[Emitted]:
        """React to an event; return what follows from it.

        Raises:
            StepFailed: `event_invalid`, `output_invalid`, `output_not_json` or `too_many_events`.
            Exception: whatever the function itself raised.
        """
        kwargs = {self._parameter: self._read(event)}
        if self._signature.context is not None:
            kwargs[self._signature.context] = ctx
        returned = await call(self._function, kwargs)
        self._signature.check_return(returned)
        models = list(_flat(returned))
        if len(models) > EMITTED_LIMIT:
            raise StepFailed(
                f"{self.what} returned {len(models):,} events, and the limit is "
                f"{EMITTED_LIMIT:,}; put what belongs together into one",
                code="too_many_events",
            )
        return [self._emitted(model) for model in models]

    def _read(self, event: DomainEvent) -> Any:
        try:
            return self._adapter.validate_json(event.value)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise StepFailed(
            f"{event.type} {event.id!r} is not what {self.what} takes: {listed_problems(problems)}",
            code="event_invalid",
        )

    def _emitted(self, model: BaseModel) -> Emitted:
        name = next(self.emits[base] for base in type(model).__mro__ if base in self.emits)
        return Emitted(name, event_value(model, f"{name}, returned by {self.what},"))


def _models(annotation: Any, what: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Find the models in what a function says it returns, each with its event type."""
    origin = get_origin(annotation)
    if annotation is None or annotation is types.NoneType or annotation is Ellipsis:
        return
    if origin is Annotated:
        yield from _models(get_args(annotation)[0], what)
    elif origin in (Union, types.UnionType, list, tuple):
        for part in get_args(annotation):
            yield from _models(part, what)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, event_type_of(annotation)
    else:
        said = "nothing" if annotation is NO_VALUE else f"{annotation!r}"
        raise agent_error(
            f"{what}: its annotation says that it returns {said}; say which events it emits: a "
            "Pydantic model (-> TicketClosed), one of several (-> TicketClosed | TicketReopened), "
            "many (-> list[TicketClosed]), or none (-> None)"
        )


def _flat(returned: Any) -> Iterator[BaseModel]:
    if isinstance(returned, BaseModel):
        yield returned
    elif returned is not None:
        for each in returned:
            yield from _flat(each)
