"""Spans exported by OTLP over HTTP, with OpenTelemetry's own library.

Ended spans go into a bounded queue, which a thread empties; a full queue loses its oldest. A trace
that a message asks for by its seed, and the span of something that is told of when it is over, get
ids that are derived and not drawn: whoever tells of them again tells of the same.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from starlings.messages import StarlingsError

from .settings import TelemetrySettings
from .spans import NO_ATTRIBUTES, Attributes, Kind, Span, Tracer, around
from .traceparent import TraceParent, parse_traceparent, seeded

MESSAGE_CHARACTERS = 1_000
_SCOPE = "starlings"
_KINDS: Mapping[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}
_NS_PER_MS = 1_000_000
_wanted: ContextVar[tuple[int, int]] = ContextVar("starlings_wanted_ids", default=(0, 0))


class _Ids(RandomIdGenerator):
    """Draws ids, but for those that are wanted."""

    def generate_trace_id(self) -> int:
        return _wanted.get()[0] or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return _wanted.get()[1] or super().generate_span_id()


class OtlpTracer(Tracer):
    """Records spans, and exports them."""

    on = True

    def __init__(self, settings: TelemetrySettings, *, service: str, instance: str) -> None:
        exporter = OTLPSpanExporter(endpoint=settings.address, headers=settings.headers)
        self._provider = TracerProvider(
            sampler=_sampler(settings),
            resource=_resource(settings, service, instance),
            shutdown_on_exit=False,  # it may take long, and `close` knows how long it may
            id_generator=_Ids(),
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SCOPE, _version())
        if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            # what authors record within a step becomes a part of it
            trace.set_tracer_provider(self._provider)

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
        trace_id = int(seeded(seed).trace_id, 16) if seed else 0
        return self._begin(
            name, _context_of(parent), kind=kind, attributes=attributes, ids=(trace_id, 0)
        )

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
        """Tell of something that is over; return its `traceparent`."""
        told = seeded(seed)
        ids = (int(told.trace_id, 16), int(told.span_id, 16))
        span = self._begin(
            name, _context_of(parent), attributes=attributes, ids=ids, began_ms=began_ms
        )
        if error is not None:
            span.fail(*error)
        span.end(ended_ms)
        return span.traceparent

    def inner(self, span: trace.Span, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Begin a part of what goes on within another span."""
        within = trace.set_span_in_context(span, Context())
        return self._begin(name, within, kind=kind, attributes=attributes)

    def _begin(
        self,
        name: str,
        context: Context,
        *,
        kind: Kind = "internal",
        attributes: Attributes,
        ids: tuple[int, int] = (0, 0),
        began_ms: int | None = None,
    ) -> RecordedSpan:
        wanted = _wanted.set(ids)
        try:
            span = self._tracer.start_span(
                name,
                context,
                _KINDS[kind],
                attributes=_present(attributes),
                start_time=None if began_ms is None else began_ms * _NS_PER_MS,
            )
        finally:
            _wanted.reset(wanted)
        return RecordedSpan(self, span)

    def close(self, within_s: float) -> None:
        """Export what is left, in so many seconds: a collector that is away is left alone then."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(within_s)


class RecordedSpan(Span):
    """A span that is exported when it has ended, where it is sampled."""

    __slots__ = ("_attached", "_dropped", "_outer", "_span", "_tracer")

    def __init__(self, tracer: OtlpTracer, span: trace.Span) -> None:
        super().__init__(_written(span.get_span_context()))
        self._tracer = tracer
        self._span = span
        self._dropped = False
        self._attached: Token[Context] | None = None
        self._outer: Token[Span | None] | None = None

    def __enter__(self) -> Self:
        self._attached = contexts.attach(trace.set_span_in_context(self._span))
        self._outer = around.set(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object, /) -> None:
        if self._outer is not None:
            around.reset(self._outer)
        if self._attached is not None:
            contexts.detach(self._attached)
        if isinstance(error, asyncio.CancelledError):
            self.note({"starlings.outcome": "given_up"})  # handed back, or stopped
        elif error is not None:
            code = error.code if isinstance(error, StarlingsError) else type(error).__name__
            self.fail(code, str(error))
        self.end()

    def end(self, at_ms: int | None = None) -> None:
        """End it now, or at a time that has passed."""
        if not self._dropped:
            self._span.end(None if at_ms is None else at_ms * _NS_PER_MS)

    def note(self, attributes: Attributes) -> None:
        """Tell more about it; what is None is left out."""
        self._span.set_attributes(_present(attributes))

    def fail(self, code: str, message: str) -> None:
        """Say that the work failed."""
        self._span.set_attribute("error.type", code)
        self._span.set_status(Status(StatusCode.ERROR, message[:MESSAGE_CHARACTERS]))

    def drop(self) -> None:
        """Forget it: what is never ended is never exported."""
        self._dropped = True

    def inner(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Begin a part of this work."""
        return self._tracer.inner(self._span, name, kind, attributes)


def _sampler(settings: TelemetrySettings) -> sampling.Sampler:
    name = settings.traces_sampler
    roots: dict[str, sampling.Sampler] = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
        "traceidratio": sampling.TraceIdRatioBased(settings.traces_sampler_arg),
    }
    root = roots[name.removeprefix("parentbased_")]
    return sampling.ParentBased(root) if name.startswith("parentbased_") else root


def _resource(settings: TelemetrySettings, service: str, instance: str) -> Resource:
    own = {
        "service.name": f"starlings-{service}",
        "service.instance.id": instance,
        "service.version": _version(),
    }
    named = {"service.name": settings.service_name} if settings.service_name else {}
    return Resource.create({**own, **settings.resource, **named})


def _version() -> str:
    try:
        return version("starlings")
    except PackageNotFoundError:  # run from a folder
        return ""


def _context_of(parent: str | None) -> Context:
    """Put a parent from afar into a context; an empty one where there is none."""
    found = parse_traceparent(parent)
    if found is None:
        return Context()
    span = SpanContext(
        int(found.trace_id, 16),
        int(found.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found.flags, 16)),
    )
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


def _written(span: SpanContext) -> str:
    flags = f"{span.trace_flags:02x}"
    return str(TraceParent(f"{span.trace_id:032x}", f"{span.span_id:016x}", flags))


def _present(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}
