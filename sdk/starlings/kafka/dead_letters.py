"""Dead letters: messages that could not be handled, untouched, with the error and their origin.

Key, value and headers stay as they were; what is added stands in headers of our own behind them, so
that a redrive is a plain copy back. The one exception is a value so large that no room is left for
those headers: it travels by claim check, as any large value does.
"""

from __future__ import annotations

from itertools import takewhile
from typing import NamedTuple

import structlog
from aiokafka import ConsumerRecord

from starlings.messages import (
    GROUP_HEADER,
    REDRIVE_HEADER,
    ErrorInfo,
    Headers,
    Origin,
    StarlingsError,
    Topics,
    origin_key,
    redrive_mark,
)

from .codec import CLAIM_HEADER
from .publisher import Publisher

log = structlog.get_logger(__name__)

CODE, MESSAGE, ORIGIN, KEY = (
    "starlings_error_code",
    "starlings_error_message",
    "starlings_origin",
    "starlings_origin_key",
)
_OURS = frozenset({CODE, MESSAGE, ORIGIN, KEY, GROUP_HEADER})
MESSAGE_LIMIT = 8_000


def written_headers(reason: ErrorInfo, *, topic: str, key: bytes) -> Headers:
    """Write the headers of a message that is put aside by who has written it.

    It was written to `topic`, at a place that its writer does not know: partition and offset of
    its origin are -1.
    """
    return _headers(reason, Origin(topic, -1, -1), key)


def lay_nowhere(origin: str) -> bool:
    """Tell from the header about its origin whether a message was put aside by its writer."""
    return origin.endswith("/-1/-1")


def _headers(reason: ErrorInfo, origin: Origin, key: bytes) -> Headers:
    return [
        (CODE, reason.code.encode()),
        (MESSAGE, reason.message[:MESSAGE_LIMIT].encode(errors="replace")),
        (ORIGIN, str(origin).encode()),
        (KEY, key),
    ]


class Copy(NamedTuple):
    """A record that was read before, written anew; what `bury` needs of one."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Headers


async def bury(
    publisher: Publisher,
    record: ConsumerRecord | Copy,
    reason: ErrorInfo,
    *,
    topics: Topics,
    group: str = "",
) -> None:
    """Put a record into the dead letters; return when that is acknowledged.

    `group` is the consumer group that could not handle it: where several read one topic, a redrive
    is for that one only.
    """
    origin = Origin(record.topic, record.partition, record.offset)
    headers: Headers = [(k, v) for k, v in record.headers if k not in _OURS]
    headers += _headers(reason, origin, record.key or b"")
    if group:
        headers.append((GROUP_HEADER, group.encode()))
    key = origin_key(record.topic, record.partition, record.offset)
    try:
        await publisher.forward(topics.dead_letters, key, record.value, headers=headers)
    except StarlingsError as error:
        if error.code != "message_too_large" or record.value is None:
            raise
        value, headers = await publisher.codec.claim(record.value, headers)
        await publisher.forward(topics.dead_letters, key, value, headers=headers)
    log.warning(
        "a message was put aside",
        origin=str(origin),
        to=topics.dead_letters,
        code=reason.code,
        error=reason.message,
    )


def original_headers(headers: Headers) -> Headers:
    """Give the headers that a buried message had, without marks of an earlier redrive."""
    own = takewhile(lambda header: header[0] not in _OURS, headers)
    return [header for header in own if header[0] != REDRIVE_HEADER]


def claimed_at_burial(headers: Headers) -> bool:
    """Tell whether the value was put into the blob store only to make room for our headers."""
    names = [name for name, _ in headers]
    return CLAIM_HEADER in names and CLAIM_HEADER not in dict(original_headers(headers))


async def send_back(
    publisher: Publisher, letter: ConsumerRecord, origin: Origin, *, count: int, group: str = ""
) -> Origin:
    """Copy a buried message back to the partition that it came from; say where it lies now.

    The same `count` twice is the same message to whoever reads that topic.
    """
    found = dict(letter.headers)
    headers: Headers = [(REDRIVE_HEADER, redrive_mark(origin, count))]
    if group:
        headers.append((GROUP_HEADER, group.encode()))
    headers += original_headers(letter.headers)
    if claimed_at_burial(letter.headers):
        headers.append((CLAIM_HEADER, b"1"))
    placed = await publisher.forward(
        origin.topic,
        found.get(KEY) or None,
        letter.value,
        headers=headers,
        partition=origin.partition,
    )
    return Origin(placed.topic, placed.partition, placed.offset)
