"""CloudEvents 1.0 in Kafka's binary mode: the headers, and what they say.

Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2 (binary content mode); the attribute
`causationid` is an extension of ours, `traceparent` is the distributed tracing extension
(W3C Trace Context).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

Headers = list[tuple[str, bytes]]

CONTENT_TYPE = b"application/json"
SHADOW_HEADER = "starlings_shadow"  # on a candidate's results: how they compare, as JSON
REPLAY_HEADER = "starlings_replay"  # on all that a replay publishes: what it is, and of which run
_FIXED: Headers = [("ce_specversion", b"1.0"), ("content-type", CONTENT_TYPE)]


class Envelope(NamedTuple):
    """What is said about a message, apart from the message."""

    id: str
    type: str
    source: str
    subject: str
    time_ms: int = 0
    traceparent: str | None = None
    causation_id: str | None = None
    replay: str | None = None

    def headers(self) -> Headers:
        """Write the Kafka headers of this envelope."""
        headers: Headers = [
            *_FIXED,
            ("ce_id", self.id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_subject", self.subject.encode()),
            ("ce_time", _written(self.time_ms)),
        ]
        if self.traceparent:
            headers.append(("traceparent", self.traceparent.encode()))
        if self.causation_id:
            headers.append(("ce_causationid", self.causation_id.encode()))
        if self.replay:
            headers.append((REPLAY_HEADER, self.replay.encode()))
        return headers


def _written(time_ms: int) -> bytes:
    second, millisecond = divmod(time_ms, 1000)
    return b"%s.%03d+00:00" % (_second(second), millisecond)


@lru_cache(maxsize=8)
def _second(seconds: int) -> bytes:
    """Write a second as RFC 3339; thousands of messages have the same one."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().encode()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message lay on Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Write it as `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


def header(headers: tuple[tuple[str, bytes], ...] | Headers, name: str) -> str | None:
    """Read one header as text; None where it is missing or not text."""
    for key, value in headers:
        if key == name:
            try:
                return value.decode() if value is not None else None
            except UnicodeDecodeError:
                return None
    return None
