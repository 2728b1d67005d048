"""Traces: which messages belong to one request, and where the time went (docs/operations.md).

Every service hands a `traceparent` on with each message, whether or not anybody records it. Where
`OTEL_EXPORTER_OTLP_ENDPOINT` is set, spans are recorded as well, and exported by OTLP over HTTP:

```python
with ports.tracer.span("plan", parent=received.envelope.traceparent, kind="consumer") as span:
    …                                   # inner_span(…) in here becomes a part of it
    await publish(…, traceparent=span.traceparent)
```

Rules:

- The libraries for it (the extra `otlp`) are imported only where traces are exported.
- An exporter works in a thread of its own with a bounded queue: a collector that is slow or away
  costs spans, never a step.
"""

from __future__ import annotations

from .opening import FLUSH_WITHIN_S, open_tracer
from .settings import TelemetrySettings, TelemetrySwitch
from .spans import NO_ATTRIBUTES, OFF, Attributes, Kind, Span, Tracer, inner_span
from .traceparent import callers_traceparent, child_traceparent

__all__ = [
    "FLUSH_WITHIN_S",
    "NO_ATTRIBUTES",
    "OFF",
    "Attributes",
    "Kind",
    "Span",
    "TelemetrySettings",
    "TelemetrySwitch",
    "Tracer",
    "callers_traceparent",
    "child_traceparent",
    "inner_span",
    "open_tracer",
]
