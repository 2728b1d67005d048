"""Dead letters: messages that could not be handled, untouched, with the error and their origin.

Key, value and headers stay as they were; what is added stands in headers of our own, so that a
redrive is a plain copy back. The one exception is a value so large that no room is left for those
headers: it travels by claim check, as any large value does.
"""

from __future__ import annotations

import structlog
from aiokafka import ConsumerRecord

from starlings.messages import ErrorInfo, Headers, Origin, StarlingsError, Topics, origin_key

from .publisher import Publisher

log = structlog.get_logger(__name__)

CODE, MESSAGE, ORIGIN, KEY = (
    "starlings_error_code",
    "starlings_error_message",
    "starlings_origin",
    "starlings_origin_key",
)
_OURS = frozenset({CODE, MESSAGE, ORIGIN, KEY})
MESSAGE_LIMIT = 8_000


async def bury(
    publisher: Publisher, record: ConsumerRecord, reason: ErrorInfo, *, topics: Topics
) -> None:
    """Put a record into the dead letters; return when that is acknowledged."""
    origin = Origin(record.topic, record.partition, record.offset)
    headers: Headers = [(k, v) for k, v in record.headers if k not in _OURS]
    headers += [
        (CODE, reason.code.encode()),
        (MESSAGE, reason.message[:MESSAGE_LIMIT].encode(errors="replace")),
        (ORIGIN, str(origin).encode()),
        (KEY, record.key or b""),
    ]
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
