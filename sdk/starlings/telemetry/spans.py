"""Spans as the services see them; where no traces are exported they are recorded nowhere.

A span's `traceparent` is what goes into the messages that follow from the work: so the spans of all
services join into one trace, whoever exports them. Spans tell names, ids, counts and errors, never
a task, an input or an output.

`OFF` costs what handing a `traceparent` on costs. What lies on the way of each short step asks
`tracer.on` first, and what a step calls (`inner_span`) looks whether there is a span around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Literal, Self

from .traceparent import child_traceparent

Kind = Literal["internal", "consumer", "client"]
Attributes = Mapping[str, "str | int | float | bool | None"]

NO_ATTRIBUTES: Attributes = {}


class Span:
    """Work that is going on, recorded nowhere; used as a context manager, which ends it."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str = "") -> None:
        self.traceparent = traceparent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _traceback: object, /) -> None:
        """End it; an exception that passes through is told as its failure."""

    def note(self, attributes: Attributes) -> None:
        """Tell more about it; what is None is left out."""

    def fail(self, code: str, message: str) -> None:
        """Say that the work failed."""

    def drop(self) -> None:
        """Forget it: there was nothing to do."""

    def inner(self, name: str, kind: Kind, attributes: Attributes) -> Span:  # noqa: ARG002
        """Begin a part of this work."""
        return UNRECORDED


UNRECORDED = Span()


class Tracer:
    """Records nothing."""

    on = False

    def span(
        self,
        name: str,
        *,
        parent: str | None = None,
        seed: str = "",
        kind: Kind = "internal",
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> Span:
        """Begin a span below a `traceparent`; where there is none, it begins the seed's trace."""
        del name, kind, attributes
        return Span(child_traceparent(parent, seed))

    def tell(
        self,
        name: str,
        *,
        parent: str | None,
        seed: str,
        began_ms: int,
        ended_ms: int,
        attributes: Attributes = NO_ATTRIBUTES,
        error: tuple[str, str] | None = None,
    ) -> str:
        """Tell of something that is over; return its `traceparent`.

        Its id comes from the seed: told twice, after a crash or by two, it is the same span.
        `error` is a code and a message.
        """
        del name, began_ms, ended_ms, attributes, error
        return child_traceparent(parent, seed)

    def close(self, within_s: float) -> None:
        """Export what is left, in so many seconds."""


OFF = Tracer()

#: The span around what is going on; set by spans that are recorded, and by no others.
around: ContextVar[Span | None] = ContextVar("starlings_span", default=None)


def inner_span(name: str, *, kind: Kind = "internal", attributes: Attributes) -> Span:
    """Begin a part of the work that is going on; recorded nowhere where that is not."""
    span = around.get()
    return UNRECORDED if span is None else span.inner(name, kind, attributes)
