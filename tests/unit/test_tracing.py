"""W3C trace context: read tolerantly, written strictly."""

from __future__ import annotations

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from starlings.telemetry.traceparent import (
    callers_traceparent,
    child_traceparent,
    new_traceparent,
    parse_traceparent,
    trace_id,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
VALID = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_new_trace_can_be_read_back():
    found = parse_traceparent(new_traceparent())
    assert found is not None
    assert (len(found.trace_id), len(found.span_id), found.flags) == (32, 16, "01")


def test_two_new_traces_differ():
    assert new_traceparent() != new_traceparent()


def test_a_child_keeps_the_trace_and_its_flags_in_a_new_span():
    parent = VALID[:-2] + "00"
    child = parse_traceparent(child_traceparent(parent))
    assert child is not None
    assert (child.trace_id, child.flags) == (TRACE, "00")
    assert child.span_id != "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "nonsense",
        VALID.upper(),
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{VALID}-more",
        VALID[:-1],
    ],
)
def test_an_invalid_parent_is_as_none_and_begins_a_new_trace(value):
    assert parse_traceparent(value) is None
    assert trace_id(value) is None
    assert parse_traceparent(child_traceparent(value)) is not None


def test_white_space_and_later_versions_are_tolerated():
    assert trace_id(f" {VALID}\n") == TRACE
    assert trace_id(f"cc-{VALID[3:]}-what-comes-later") == TRACE


def test_the_same_seed_begins_the_same_trace_in_spans_of_their_own():
    first, second = (parse_traceparent(child_traceparent(None, "t/0/7@5")) for _ in range(2))
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert trace_id(child_traceparent(None, "t/0/8@5")) != first.trace_id


def test_a_client_hands_the_span_on_that_its_caller_is_in():
    assert callers_traceparent() is None
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(span)):
        assert callers_traceparent() == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert callers_traceparent() is None
