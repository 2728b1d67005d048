"""Publishing: encode, send, and wait for the acknowledgement of all in-sync replicas.

`send` returns when the record is buffered, so that many can be under way; the future it returns is
the acknowledgement. Errors say what to do about them.

One idempotent producer at a time does the work. While a broker is away it tries on, for as long as
that takes. It numbers the records of each partition, and a number that Kafka has refused for good
(a record too large, no right to write) is a gap: all that follows in that partition would be
refused too. So each refusal replaces the producer by a fresh one; what was under way then and is
not acknowledged fails, for its sender to send again under the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from starlings.messages import ConfigError, Headers, Message, StarlingsError, TransientError

from .codec import Codec
from .connection import Connection
from .metadata import find_topics
from .starting import start_client

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 10.0
TOPIC_WITHIN_S = 5.0  # topics that were created just now are not known to all brokers at once
_CLOSE_S = 1.0
_LOOK_AGAIN_S = 0.1
_START_AGAIN_S = 1.0


class Publisher:
    """Publishes messages for one process."""

    def __init__(
        self, connection: Connection, codec: Codec, *, stop_within_s: float = STOP_WITHIN_S
    ) -> None:
        self.codec = codec
        self.delivered = 0
        self.failed = 0
        self.renewed = 0
        self._connection = connection
        self._stop_within_s = stop_within_s
        self._producer: AIOKafkaProducer | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect the producer.

        Raises:
            TransientError: Kafka is away.
            ConfigError: this user may not produce.
        """
        try:
            self._producer = await _started(self._connection)
        except KafkaError as error:
            raise publish_error("Kafka", error) from error

    async def stop(self) -> None:
        """Flush what is buffered, within a bound, and disconnect."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer, self._stop_within_s)

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
        value, headers = await self.codec.encode(
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
        replay: str | None = None,
    ) -> Any:
        """Send a message and wait for its acknowledgement; return where it lies.

        Raises:
            TransientError: Kafka did not take it, and may later.
            ConfigError: the topic is missing, or this user may not write to it.
            StarlingsError: `message_too_large` or `unencodable`.
        """
        value, headers = await self.codec.encode(
            message,
            id=id,
            subject=subject,
            traceparent=traceparent,
            causation_id=causation_id,
            replay=replay,
        )
        return await self.forward(topic, key, value, headers=headers)

    async def tombstone(self, topic: str, key: bytes) -> Any:
        """Take back what a compacted topic holds under a key."""
        return await self.forward(topic, key, None, headers=[])

    async def forward(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers,
        partition: int | None = None,
    ) -> Any:
        """Publish bytes as they are, and wait for the acknowledgement.

        Without a `partition` the key decides.
        """
        renewed = self.renewed

        async def send() -> Any:
            sent = await self.send_raw(topic, key, value, headers, partition=partition)
            return await _acknowledged(topic, sent)

        try:
            return await send()
        except TransientError:
            await self._renewal()
            if self.renewed == renewed:
                raise
        # it was not this record's fault: it met a producer that was spoilt by another one
        return await send()

    async def send_raw(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        *,
        partition: int | None = None,
    ) -> asyncio.Future[Any]:
        """Buffer a record as it is; the future returned is its acknowledgement."""
        if self._renewing is not None:
            await self._renewal()
        producer = self._producer
        if producer is None:
            raise TransientError("the publisher is not started", code="not_started")
        try:
            if producer.client.cluster.partitions_for_topic(topic) is None:
                await _know(producer, topic)
            acknowledgement: asyncio.Future[Any] = await producer.send(
                topic, value, key=key, headers=headers, partition=partition
            )
        except KafkaError as error:
            self.failed += 1
            raise publish_error(topic, error) from error
        acknowledgement.add_done_callback(self._count)
        return acknowledgement

    def _count(self, acknowledgement: asyncio.Future[Any]) -> None:
        if acknowledgement.cancelled():
            return
        if acknowledgement.exception() is None:
            self.delivered += 1
            return
        self.failed += 1
        if self._renewing is None and self._producer is not None:
            self._renewing = asyncio.ensure_future(self._renew(acknowledgement.exception()))
            self._renewing.add_done_callback(self._has_renewed)

    # -- replacing a spoilt producer -----------------------------------------------------------

    async def _renew(self, reason: BaseException | None) -> None:
        spoilt, self._producer = self._producer, None
        log.warning("a record was refused, the producer is replaced", error=repr(reason))
        if spoilt is not None:
            await _close(spoilt, self._stop_within_s)
        while self._producer is None:
            try:
                self._producer = await _started(self._connection)
            except (KafkaError, OSError) as error:
                log.warning("no producer yet", error=repr(error))
                await asyncio.sleep(_START_AGAIN_S)
        self.renewed += 1

    def _has_renewed(self, renewing: asyncio.Task[None]) -> None:
        self._renewing = None
        if not renewing.cancelled() and (error := renewing.exception()) is not None:
            log.error("the producer could not be replaced", error=repr(error))

    async def _renewal(self) -> None:
        """Wait for the replacement that is under way, for as long as a request may take."""
        if self._renewing is not None:
            bound_s = self._connection.settings.request_timeout_ms / 1_000
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._renewing), bound_s)


async def _started(connection: Connection) -> AIOKafkaProducer:
    producer = connection.producer()
    try:
        await start_client(producer)
    except BaseException:
        await _close(producer, _CLOSE_S)
        raise
    return producer


async def _close(producer: AIOKafkaProducer, within_s: float) -> None:
    """Flush and disconnect; what is not acknowledged in time fails, and is not waited for."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait({stopping}, timeout=within_s)
    if not stopping.done():  # it would wait for a broker that is away, for ever
        producer._message_accumulator.fail_all(KafkaTimeoutError())  # noqa: SLF001
        await asyncio.wait({stopping}, timeout=_CLOSE_S)
    if not stopping.done():  # a request is under way
        await producer.client.close()
        await asyncio.wait({stopping}, timeout=_CLOSE_S)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


async def _know(producer: AIOKafkaProducer, topic: str) -> None:
    """Make sure that a topic exists; the client by itself waits for long, or has it created."""
    until = asyncio.get_running_loop().time() + TOPIC_WITHIN_S
    while True:
        try:
            found = (await find_topics(producer.client, [topic]))[topic]
        except (NodeNotReadyError, KafkaConnectionError):
            return  # the client waits for the broker
        if found.error is not None and not found.error.retriable:
            raise found.error(topic)
        if not found.missing or asyncio.get_running_loop().time() >= until:
            break
        await asyncio.sleep(_LOOK_AGAIN_S)
    if found.missing:
        raise UnknownTopicOrPartitionError(topic)


async def _acknowledged(topic: str, acknowledgement: asyncio.Future[Any]) -> Any:
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
        return ConfigError(
            f"this Kafka user may not write to {topic}: it needs the ACLs WRITE and DESCRIBE"
        )
    if isinstance(error, ClusterAuthorizationFailedError):
        return ConfigError(
            "this Kafka user may write to no topic at all: it needs the ACL WRITE on those of "
            "Starlings (and before Kafka 2.8 IDEMPOTENT_WRITE on the cluster)"
        )
    return TransientError(f"{topic} took no message: {error!r}", code="kafka_unavailable")
