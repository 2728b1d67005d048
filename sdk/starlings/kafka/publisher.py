"""Publishing: encode, send, and wait for the acknowledgement of all in-sync replicas.

One idempotent producer per process. `send` returns when the record is buffered, so that many can be
under way; the future it returns is the acknowledgement. Errors say what to do about them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from starlings.messages import ConfigError, Headers, Message, StarlingsError, TransientError

from .codec import Codec
from .connection import Connection

STOP_WITHIN_S = 10.0


class Publisher:
    """Publishes messages for one process."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self._producer: AIOKafkaProducer | None = None
        self.delivered = 0
        self.failed = 0

    async def start(self) -> None:
        """Connect the producer."""
        producer = self._connection.producer()
        await producer.start()
        self._producer = producer

    async def stop(self) -> None:
        """Flush what is buffered, within a bound, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.ensure_future(producer.stop())
            await asyncio.wait({stopping}, timeout=STOP_WITHIN_S)
            stopping.cancel()

    async def send(
        self,
        topic: str,
        key: bytes,
        message: Message,
        *,
        id: str,  # noqa: A002 - the CloudEvents attribute
        subject: str,
        traceparent: str | None = None,
        causation_id: str | None = None,
    ) -> asyncio.Future[Any]:
        """Buffer a message; the future returned is its acknowledgement."""
        value, headers = await self._codec.encode(
            message, id=id, subject=subject, traceparent=traceparent, causation_id=causation_id
        )
        return await self.send_raw(topic, key, value, headers)

    async def publish(
        self,
        topic: str,
        key: bytes,
        message: Message,
        *,
        id: str,  # noqa: A002 - the CloudEvents attribute
        subject: str,
        traceparent: str | None = None,
        causation_id: str | None = None,
    ) -> Any:
        """Send a message and wait for its acknowledgement; return where it lies."""
        acknowledgement = await self.send(
            topic,
            key,
            message,
            id=id,
            subject=subject,
            traceparent=traceparent,
            causation_id=causation_id,
        )
        return await self._acknowledged(topic, acknowledgement)

    async def tombstone(self, topic: str, key: bytes) -> Any:
        """Take back what a compacted topic holds under a key."""
        return await self._acknowledged(topic, await self.send_raw(topic, key, None, []))

    async def forward(
        self, topic: str, key: bytes | None, value: bytes | None, *, headers: Headers
    ) -> Any:
        """Publish bytes as they are, and wait for the acknowledgement."""
        return await self._acknowledged(topic, await self.send_raw(topic, key, value, headers))

    async def send_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> asyncio.Future[Any]:
        """Buffer a record as it is; the future returned is its acknowledgement."""
        if self._producer is None:
            raise TransientError("the publisher is not started", code="not_started")
        try:
            acknowledgement: asyncio.Future[Any] = await self._producer.send(
                topic, value, key=key, headers=headers
            )
        except KafkaError as error:
            self.failed += 1
            raise publish_error(topic, error) from error
        acknowledgement.add_done_callback(self._count)
        return acknowledgement

    def _count(self, acknowledgement: asyncio.Future[Any]) -> None:
        if acknowledgement.cancelled() or acknowledgement.exception() is not None:
            self.failed += 1
        else:
            self.delivered += 1

    async def _acknowledged(self, topic: str, acknowledgement: asyncio.Future[Any]) -> Any:
        try:
            return await acknowledgement
        except KafkaError as error:
            raise publish_error(topic, error) from error


def publish_error(topic: str, error: KafkaError) -> StarlingsError:
    """Say what a failed send means and what to do about it."""
    if isinstance(error, MessageSizeTooLargeError):
        return StarlingsError(
            f"a message for {topic} is larger than Kafka takes ({error}); "
            "pass large values by reference, or raise max.message.bytes of the topic",
            code="message_too_large",
        )
    if isinstance(error, UnknownTopicOrPartitionError):
        return ConfigError(f"topic {topic} is missing: run `starlings topics ensure`")
    if isinstance(error, TopicAuthorizationFailedError):
        return ConfigError(f"this Kafka user may not write to {topic}: it needs the ACL WRITE")
    return TransientError(f"{topic} took no message: {error!r}", code="kafka_unavailable")
