"""Domain events to records and back: any producer's JSON, with or without headers.

The topic names the type. What else is known of an event stands in headers, each of which may be
missing: without `ce_id` an event is called after the place where it lies, without
`ce_correlationid` its run is the record's key, where that is fit to name one, or else the place.
"""

from __future__ import annotations

import re

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from starlings.messages import (
    REDRIVE_HEADER,
    REPLAY_HEADER,
    DomainEvent,
    Envelope,
    Headers,
    Message,
    Origin,
    Topics,
    UndecodableMessage,
    event_ce_type,
    header,
    read_redrive_mark,
    run_id_at,
)
from starlings.messages.base import ID_PATTERN

from .codec import CLAIM_ABOVE_BYTES, Codec, Received

CORRELATION, HOPS, TRAIL = "ce_correlationid", "ce_hops", "ce_trail"
_RUN_ID = re.compile(ID_PATTERN)


class DomainEventCodec:
    """Writes and reads the records of `facts.<type>`."""

    def __init__(self, codec: Codec, topics: Topics) -> None:
        self._codec = codec
        self._topics = topics

    async def encode(
        self,
        event: DomainEvent,
        *,
        traceparent: str | None = None,
        summary: str = "",
        replay: str | None = None,
    ) -> tuple[bytes, Headers]:
        """Write an event as value and headers; a value above 256 KiB goes to the blob store."""
        headers = self._codec.envelope(
            event.id,
            event_ce_type(event.type),
            event.correlation_id,
            traceparent=traceparent,
            causation_id=event.causation_id,
            replay=replay,
        ).headers()
        headers += [
            (CORRELATION, event.correlation_id.encode()),
            (HOPS, str(event.hops).encode()),
        ]
        if event.trail:
            headers.append((TRAIL, ",".join(event.trail).encode()))
        if len(event.value) > CLAIM_ABOVE_BYTES:
            return await self._codec.claim(event.value, headers, summary=summary)
        return event.value, headers

    async def decode(
        self, record: ConsumerRecord, *, default: type[Message] | None = None
    ) -> Received:
        """Read a record; whether its value is what an agent expects, the agent finds out.

        Raises:
            UndecodableMessage: `no_value`, `bad_headers`, or a claim check that leads nowhere.
        """
        del default  # the topic says what it holds
        origin = Origin(record.topic, record.partition, record.offset)
        try:
            event = self._event(record, origin, await self._codec.value_of(record))
        except UndecodableMessage as error:
            raise UndecodableMessage(f"{origin}: {error}", code=error.code) from None
        envelope = Envelope(
            event.id,
            event_ce_type(event.type),
            header(record.headers, "ce_source") or "",
            event.correlation_id,
            record.timestamp,
            header(record.headers, "traceparent"),
            event.causation_id,
            header(record.headers, REPLAY_HEADER),
        )
        return Received(origin, record.timestamp, record.key, envelope, event)

    def _event(self, record: ConsumerRecord, origin: Origin, value: bytes) -> DomainEvent:
        origin = _first_place(record, origin)
        hops = header(record.headers, HOPS) or "0"
        trail = header(record.headers, TRAIL)
        try:
            return DomainEvent(
                type=self._topics.event_type_of(record.topic) or "",
                id=header(record.headers, "ce_id") or str(origin),
                correlation_id=_correlation_id(record, origin),
                value=value,
                causation_id=header(record.headers, "ce_causationid") or None,
                hops=int(hops) if hops.isdecimal() else -1,
                trail=tuple(trail.split(",")) if trail else (),
            )
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            said = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:3])
            raise UndecodableMessage(
                f"the headers make no sense: {said}", code="bad_headers"
            ) from None


def _first_place(record: ConsumerRecord, origin: Origin) -> Origin:
    """Say where an event lay first: sent back from the dead letters, it keeps its names."""
    mark = read_redrive_mark((header(record.headers, REDRIVE_HEADER) or "").encode())
    return mark[0] if mark else origin


def _correlation_id(record: ConsumerRecord, origin: Origin) -> str:
    key = bytes(record.key or b"").decode(errors="replace")
    for candidate in (header(record.headers, CORRELATION), key):
        if candidate and _RUN_ID.fullmatch(candidate):
            return candidate
    return run_id_at(origin.topic, origin.partition, origin.offset)
