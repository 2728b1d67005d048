"""A collector of traces on this machine: OTLP over HTTP, read with OpenTelemetry's own messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from .web_server import Page, WebServer, web_server


@dataclass(frozen=True)
class Seen:
    """A span that has arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    about: dict[str, Any]
    resource: dict[str, Any]
    failed: str | None  # what it says of its failure
    took_ns: int


@dataclass
class Collector:
    """What has arrived so far."""

    web: WebServer

    @property
    def env(self) -> dict[str, str]:
        """What a process is told, so that its spans come here soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.web.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    @property
    def bodies(self) -> bytes:
        """All that was sent, as it was."""
        return b"".join(request.body for request in self.web.asked)

    def spans(self) -> list[Seen]:
        """All spans, in the order of their arrival."""
        return [span for request in list(self.web.asked) for span in _read(request.body)]

    def named(self, name: str, **about: Any) -> list[Seen]:
        """The spans of a name, and of these attributes without their `starlings.`."""
        return [span for span in self.spans() if span.name == name and _is(span, about)]

    def one(self, name: str, **about: Any) -> Seen:
        """The only span of its kind."""
        (span,) = self.named(name, **about)
        return span


@contextmanager
def collector(host: str = "127.0.0.1", *, hangs: bool = False) -> Iterator[Collector]:
    """Collect traces at a free port of an address of this machine."""
    with web_server(host) as web:
        web.pages["/v1/traces"] = Page(type="application/x-protobuf", hangs=hangs)
        yield Collector(web)


def _is(span: Seen, about: dict[str, Any]) -> bool:
    return all(span.about.get(f"starlings.{name}") == value for name, value in about.items())


def _read(body: bytes) -> Iterator[Seen]:
    request = ExportTraceServiceRequest.FromString(body)
    for of_process in request.resource_spans:
        for of_scope in of_process.scope_spans:
            for span in of_scope.spans:
                yield _seen(span, of_process.resource)


def _seen(span: trace_pb2.Span, resource: Resource) -> Seen:
    told = _values(resource.attributes)
    return Seen(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=told["service.name"],
        about=_values(span.attributes),
        resource=told,
        failed=span.status.message
        if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        else None,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each) for each in attributes}


def _value(attribute: KeyValue) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value"))
