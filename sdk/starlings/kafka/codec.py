"""Messages to records and back: CloudEvents headers, JSON values, claim checks for large ones.

Values are written and read by Pydantic's own serializer, which keeps integers of any size exact.
Unknown fields are accepted, unknown types skipped; everything else that cannot be read raises
`UndecodableMessage` with the reason and the place where it lay.

What is written can be read: the parser takes 200 levels and integers of 4,300 digits, and so a
value beyond that is refused here, where its author still hears of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json

from starlings.blobs import BlobStore, Claim
from starlings.messages import (
    MESSAGES,
    REPLAY_HEADER,
    Envelope,
    Headers,
    Message,
    Origin,
    RunRequested,
    StarlingsError,
    UndecodableMessage,
    ce_type,
    header,
    read_request,
    split_ce_type,
)

CLAIM_ABOVE_BYTES = 256 * 1024
CLAIM_HEADER = "starlings_claim"
SUMMARY_CHARACTERS = 300
_PROBLEMS_SHOWN = 3
_SURELY_FLAT = 150  # opening brackets
_SURELY_SHORT = 4_300  # bytes
_BY_TYPE = {ce_type(name, model.VERSION): model for name, model in MESSAGES.items()}


@dataclass(frozen=True, slots=True)
class Received:
    """A message with all that is known about it."""

    origin: Origin
    timestamp_ms: int
    key: bytes | None
    envelope: Envelope
    message: Message


class Codec:
    """Writes and reads records for one service instance."""

    def __init__(
        self,
        *,
        source: str,
        blobs: BlobStore,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._source = source
        self._blobs = blobs
        self._now_ms = now_ms

    async def encode(
        self,
        message: Message,
        *,
        id: str,  # noqa: A002 - the CloudEvents attribute
        subject: str,
        traceparent: str | None = None,
        causation_id: str | None = None,
        replay: str | None = None,
    ) -> tuple[bytes, Headers]:
        """Write a message as value and headers; a value above 256 KiB goes to the blob store.

        Raises:
            StarlingsError: `unencodable`, where no reader could read it back.
            TransientError: `blob_store`, where a large value could not be stored.
        """
        value, headers = self.write(
            message,
            id=id,
            subject=subject,
            traceparent=traceparent,
            causation_id=causation_id,
            replay=replay,
        )
        if len(value) > CLAIM_ABOVE_BYTES:
            return await self.claim(value, headers, summary=_summary(message))
        return value, headers

    def write(
        self,
        message: Message,
        *,
        id: str,  # noqa: A002 - the CloudEvents attribute
        subject: str,
        traceparent: str | None = None,
        causation_id: str | None = None,
        replay: str | None = None,
    ) -> tuple[bytes, Headers]:
        """Write a message as value and headers, however large it becomes.

        Raises:
            StarlingsError: `unencodable`, where no reader could read it back.
        """
        envelope = self.envelope(
            id,
            message.CE_TYPE,
            subject,
            traceparent=traceparent,
            causation_id=causation_id,
            replay=replay,
        )
        try:
            headers = envelope.headers()
            value = message.as_json()
            _check_readable(value)
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise StarlingsError(
                f"{message.NAME} {id!r} cannot be written as JSON: {error}", code="unencodable"
            ) from None
        return value, headers

    def envelope(
        self,
        id: str,  # noqa: A002 - the CloudEvents attribute
        type: str,  # noqa: A002 - likewise
        subject: str,
        *,
        traceparent: str | None = None,
        causation_id: str | None = None,
        replay: str | None = None,
    ) -> Envelope:
        """Make the envelope of a message that is written here and now."""
        return Envelope(
            id, type, self._source, subject, self._now_ms(), traceparent, causation_id, replay
        )

    async def claim(
        self, value: bytes, headers: Headers, *, summary: str = ""
    ) -> tuple[bytes, Headers]:
        """Put a value into the blob store, and give what travels in its place."""
        claim = await self._blobs.put(value, summary=summary)
        return claim.__pydantic_serializer__.to_json(claim), [*headers, (CLAIM_HEADER, b"1")]

    async def value_of(self, record: ConsumerRecord) -> bytes:
        """Give a record's value; where it is a claim check, what lies in the blob store.

        Raises:
            UndecodableMessage: there is none, or the blob store has not what is claimed.
            TransientError: `blob_store`, where the store is away.
        """
        value = _value(record)
        if header(record.headers, CLAIM_HEADER) is not None:
            value = await self._blobs.get(_parse(Claim, value))
        return value

    async def decode(
        self, record: ConsumerRecord, *, default: type[Message] | None = None
    ) -> Received | None:
        """Read a record; None for a type or version that this code does not know.

        Where the headers name no type, it is `default`, else what the value's own "type" says.

        Raises:
            UndecodableMessage: saying what is wrong, and where the record lies.
        """
        headers = {key: value for key, value in record.headers if value is not None}
        try:
            model = _model(headers, record.value, default)
            if model is None:
                return None
            message = _read(model, await self.value_of(record))
        except UndecodableMessage as error:
            place = Origin(record.topic, record.partition, record.offset)
            raise UndecodableMessage(f"{place}: {error}", code=error.code) from None
        return _received(record, headers, model, message)


def _check_readable(value: bytes) -> None:
    """Read a suspicious value back; most are too short to hold what the parser refuses."""
    if len(value) > _SURELY_SHORT or value.count(b"[") + value.count(b"{") > _SURELY_FLAT:
        from_json(value)


def _summary(message: Message) -> str:
    said = getattr(message, "summary", None) or getattr(message, "text", None) or message.NAME
    return str(said)[:SUMMARY_CHARACTERS]


def _value(record: ConsumerRecord) -> bytes:
    if record.value is None:
        raise UndecodableMessage("the record has no value", code="no_value")
    return bytes(record.value)


def _received(
    record: ConsumerRecord, headers: dict[str, bytes], model: type[Message], message: Message
) -> Received:
    origin = Origin(record.topic, record.partition, record.offset)
    subject = _text(headers, "ce_subject") or getattr(message, "run_id", None) or ""
    envelope = Envelope(
        _text(headers, "ce_id") or str(origin),
        model.CE_TYPE,
        _text(headers, "ce_source") or "",
        subject,
        record.timestamp,
        _text(headers, "traceparent"),
        _text(headers, "ce_causationid"),
        _text(headers, REPLAY_HEADER),
    )
    return Received(origin, record.timestamp, record.key, envelope, message)


def _text(headers: dict[str, bytes], name: str) -> str | None:
    value = headers.get(name)
    return value.decode(errors="replace") if value is not None else None


def _model(
    headers: dict[str, bytes], value: bytes | None, default: type[Message] | None
) -> type[Message] | None:
    """Find what a record is; None where it is something that we do not know."""
    named = _text(headers, "ce_type")
    if named is not None:
        return _BY_TYPE.get(named)
    if default is not None:
        return default
    name = _own_type(value or b"")
    found = split_ce_type(name)
    return _BY_TYPE.get(name) if found else MESSAGES.get(name)


def _own_type(value: bytes) -> str:
    try:
        data = from_json(value)
    except ValueError as error:
        raise _not_json(value, f"no ce_type header, and the value is not JSON: {error}") from None
    name = data.get("type") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise UndecodableMessage(
            'no ce_type header, and the value has no "type" that names its message',
            code="no_type",
        )
    return name


def _read(model: type[Message], value: bytes) -> Message:
    return read_request(value) if model is RunRequested else _parse(model, value)


def _parse(model: Any, value: bytes) -> Any:
    name = getattr(model, "NAME", "claim")
    try:
        if b"NaN" in value or b"Infinity" in value:  # the parser lets them pass, JSON has neither
            from_json(value, allow_inf_nan=False)
        return model.__pydantic_validator__.validate_json(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(_problem(p) for p in problems[:_PROBLEMS_SHOWN])
        more = len(problems) - _PROBLEMS_SHOWN
        text = f"not a valid {name}: {said}" + (f" and {more} more problems" if more > 0 else "")
        if problems[0]["type"] == "json_invalid":
            raise _not_json(value, text) from None
        raise UndecodableMessage(text, code="bad_message") from None
    except ValueError as error:
        raise _not_json(value, f"not a valid {name}: Invalid JSON: {error}") from None


def _not_json(value: bytes, text: str) -> UndecodableMessage:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return UndecodableMessage(f"the value is not UTF-8 (byte {error.start})", code="not_utf8")
    return UndecodableMessage(text, code="not_json")


def _problem(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
