"""W3C trace context: which messages belong to one request, across every service.

A `traceparent` header is read tolerantly: whatever is not valid counts as absent, so that a foreign
producer's mistake starts a new trace and never stops a message.

Source: W3C Trace Context, Recommendation of 23 November 2021, section 3.2.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
from typing import NamedTuple

_FIELDS = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_SAMPLED = "01"
_spans = random.Random()  # noqa: S311 - asking the kernel for each span costs ten times as much


class TraceParent(NamedTuple):
    """The fields of a `traceparent`; `str()` writes the header."""

    trace_id: str
    span_id: str
    flags: str = _SAMPLED

    def __str__(self) -> str:
        """Write it as version 00, the one version there is."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse_traceparent(value: str | None) -> TraceParent | None:
    """Read a `traceparent`; None where it is missing or invalid.

    A version above 00 is read by its first four fields, as the recommendation asks.
    """
    match = _FIELDS.match(value.strip()) if value else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == "00" and rest:
        return None
    return TraceParent(trace_id, span_id, flags)


def new_traceparent() -> str:
    """Begin a trace: a new trace id with its first span."""
    return str(TraceParent(os.urandom(16).hex(), os.urandom(8).hex()))


def child_traceparent(parent: str | None, seed: str = "") -> str:
    """Go on with a trace in a new span; begin one where there is no valid parent.

    The same `seed` begins the same trace: all who read one message that has none agree about it.
    """
    found = parse_traceparent(parent)
    if found is not None:
        return str(TraceParent(found.trace_id, _new_span_id(), found.flags))
    if not seed:
        return new_traceparent()
    return str(TraceParent(seeded(seed).trace_id, _new_span_id()))


def seeded(seed: str) -> TraceParent:
    """Derive a trace and a span from a text, the same ones each time."""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return TraceParent(digest[:32], digest[32:48])


def callers_traceparent() -> str | None:
    """Tell which span of OpenTelemetry the caller is in; None where it uses none.

    A library asks and imports nothing: who has such a span has imported what makes it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    return str(
        TraceParent(f"{span.trace_id:032x}", f"{span.span_id:016x}", f"{span.trace_flags:02x}")
    )


def _new_span_id() -> str:
    """Make an id that is unique, and no secret."""
    return f"{_spans.getrandbits(64) or 1:016x}"


def trace_id(value: str | None) -> str | None:
    """Take the trace id out of a `traceparent`, for log lines; None where there is none."""
    found = parse_traceparent(value)
    return found.trace_id if found else None
