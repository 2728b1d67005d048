"""The one place that makes Kafka clients, with the security settings of all of them.

Producers are idempotent and wait for all in-sync replicas; consumers never commit by themselves,
begin at the earliest record, and have exactly one assignor (range, which keeps co-partitioned
topics together). `connect` finds out why a connection fails, which the client library does not say.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import stamina
import structlog
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from starlings.messages import ConfigError

from .assignor import range_assignor
from .diagnosis import Finding, diagnose
from .metadata import FoundTopic, find_topics
from .oauth import ClientCredentials
from .seat import Seat
from .settings import KafkaSettings
from .starting import start_client
from .static_member import StaticMember

log = structlog.get_logger(__name__)
_finding_out: ContextVar[bool] = ContextVar("_finding_out", default=False)
# While `connect` finds out what is wrong, the library's own guesses are only in the way.
logging.getLogger("aiokafka").addFilter(lambda _record: not _finding_out.get())

__all__ = ["Connection", "KafkaSettings"]

FETCH_MAX_WAIT_MS = 50
MAX_BATCH_BYTES = 1 << 20
REBALANCE_TIMEOUT_MS = 60_000
RECORD_WITHIN_S = 10.0
COORDINATOR_WITHIN_S = 30.0
_SAY_EVERY_S = 5.0
_TRY_EVERY_S = 1.0
_ATTEMPT_S = 10.0


class Connection:
    """Makes clients for one Kafka; holds no connection itself."""

    def __init__(self, settings: KafkaSettings, *, client_id: str = "starlings") -> None:
        settings.check()
        self.settings = settings
        self.client_id = client_id
        self._security = _security(settings)

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        return self.settings.bootstrap

    def producer(self, **overrides: Any) -> AIOKafkaProducer:
        """Make a producer; the caller starts and stops it."""
        compression = self.settings.compression
        options = {
            "enable_idempotence": True,
            "acks": "all",
            "compression_type": None if compression == "none" else compression,
            "max_batch_size": MAX_BATCH_BYTES,
            "max_request_size": MAX_BATCH_BYTES,
            "linger_ms": 0,
            "request_timeout_ms": self.settings.request_timeout_ms,
        }
        return AIOKafkaProducer(**self._common(), **{**options, **overrides})

    def consumer(
        self, *topics: str, group_id: str | None = None, **overrides: Any
    ) -> AIOKafkaConsumer:
        """Make a consumer; the caller starts and stops it.

        With a `group_instance_id` it is a static member of its group, see `static_member.py`.
        """
        kind = StaticMember if overrides.get("group_instance_id") else AIOKafkaConsumer
        options = {
            "group_id": group_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "partition_assignment_strategy": (range_assignor(),),
            "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
            "fetch_max_wait_ms": FETCH_MAX_WAIT_MS,
            "max_partition_fetch_bytes": MAX_BATCH_BYTES * 2,
            "request_timeout_ms": self.settings.request_timeout_ms,
        }
        return kind(*topics, **self._common(), **{**options, **overrides})

    def member(self, group_id: str, seat: Seat, **overrides: Any) -> AIOKafkaConsumer:
        """Make a consumer that is to be a member of a group; the caller starts and stops it."""
        return self.consumer(group_id=group_id, **{**seat.options(), **overrides})

    def admin(self, **overrides: Any) -> AIOKafkaAdminClient:
        """Make an admin client; the caller starts and closes it."""
        return AIOKafkaAdminClient(
            **self._common(), **{"request_timeout_ms": self.settings.request_timeout_ms} | overrides
        )

    @asynccontextmanager
    async def administering(self) -> AsyncGenerator[AIOKafkaAdminClient]:
        """Have an admin client for as long as the block lasts."""
        admin = self.admin()
        try:
            await start_client(admin)
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AIOKafkaConsumer]:
        """Have a consumer without a group for as long as the block lasts."""
        consumer = self.consumer()
        try:
            await start_client(consumer)
            yield consumer
        finally:
            await consumer.stop()

    def _common(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            **self._security,
        }

    # -- connecting ----------------------------------------------------------------------------

    async def connect(self, wait_s: float = 60.0) -> None:
        """Return when the broker answers; wait for one that is away.

        Raises:
            ConfigError: a setting is wrong (and which one), or the wait is over.
        """
        began = time.monotonic()
        said = float("-inf")
        while (finding := await self._try(wait_s)) is not None:
            now = time.monotonic()
            if finding.setting is not None:
                raise ConfigError(f"{finding.setting}: {finding.message}")
            if now - began >= wait_s:
                waited = f" (waited {now - began:.0f} s)" if wait_s else ""
                raise ConfigError(
                    f"KAFKA_BOOTSTRAP={self.bootstrap}: {finding.message}{waited}; start it, "
                    "correct the address, or run `starlings broker up` for a local one"
                )
            if now - said >= _SAY_EVERY_S:
                said = now
                log.warning("waiting for Kafka", bootstrap=self.bootstrap, reason=finding.message)
            await asyncio.sleep(min(_TRY_EVERY_S, wait_s))

    async def _try(self, wait_s: float) -> Finding | None:
        """Reach a broker where its own answers say that it is; else find out what is wrong."""
        bound_s = min(_ATTEMPT_S, max(wait_s, _TRY_EVERY_S))
        before = _finding_out.set(True)
        try:
            async with asyncio.timeout(bound_s), self.administering() as admin:
                await admin.describe_cluster()
        except (KafkaError, OSError, TimeoutError) as error:
            return await diagnose(self.settings, self._security, error)
        finally:
            _finding_out.reset(before)
        return None

    # -- small questions -----------------------------------------------------------------------

    async def topic_names(self) -> set[str]:
        """Name all topics that this user may see."""
        async with self.administering() as admin:
            return set(await admin.list_topics())

    async def partitions(self, topic: str) -> Sequence[int]:
        """List a topic's partitions.

        Raises:
            ConfigError: the topic is missing, or not for this user to see.
        """
        found = (await self.find_topics([topic]))[topic]
        if found.missing:
            raise ConfigError(f"topic {topic} is missing: run `starlings topics ensure`")
        if found.hidden:
            raise ConfigError(f"this Kafka user may not see {topic}: it needs the ACL DESCRIBE")
        return list(found.partitions)

    async def find_topics(self, names: Sequence[str]) -> dict[str, FoundTopic]:
        """Look topics up, creating none."""
        async with self.administering() as admin:
            return await find_topics(admin._client, names)  # noqa: SLF001 - it has no such call

    async def committed(
        self, group_id: str, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Read a group's commits with their metadata, which consumers leave out."""
        async with self.administering() as admin:
            async for attempt in stamina.retry_context(
                on=_passing, attempts=None, timeout=COORDINATOR_WITHIN_S, wait_initial=0.1
            ):
                with attempt:
                    found = await admin.list_consumer_group_offsets(
                        group_id, partitions=list(places)
                    )
        return {place: commit for place, commit in found.items() if commit.offset >= 0}

    async def record_at(self, place: TopicPartition, offset: int) -> ConsumerRecord | None:
        """Fetch one record; None where it is there no more.

        Raises:
            KafkaError: Kafka is away.
            TimeoutError: it did not answer in time.
        """
        async with self.reading() as consumer:
            consumer.assign([place])
            ends = await consumer.end_offsets([place])
            if offset >= ends[place]:
                return None
            consumer.seek(place, offset)
            async with asyncio.timeout(RECORD_WITHIN_S):
                record: ConsumerRecord = await consumer.getone(place)
            return record if record.offset == offset else None


def _passing(error: Exception) -> bool:
    """Tell what passes by itself, such as a group's coordinator that is being elected."""
    return isinstance(error, KafkaError) and bool(error.retriable)


def _security(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.uses_tls:
        options["ssl_context"] = _ssl_context(settings)
    if settings.uses_sasl:
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = ClientCredentials(settings)
        else:
            options["sasl_plain_username"] = settings.sasl_username
            password = settings.sasl_password
            options["sasl_plain_password"] = password.get_secret_value() if password else None
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except ssl.SSLError as error:
        raise ConfigError(f"KAFKA_SSL_CAFILE={settings.ssl_cafile} is no PEM: {error}") from None
    context.check_hostname = settings.ssl_check_hostname
    if settings.ssl_certfile is not None:
        password = settings.ssl_key_password
        try:
            context.load_cert_chain(
                settings.ssl_certfile,
                settings.ssl_keyfile,
                password.get_secret_value() if password else None,
            )
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(
                f"KAFKA_SSL_CERTFILE={settings.ssl_certfile} with its key cannot be used "
                f"(is KAFKA_SSL_KEY_PASSWORD right?): {error}"
            ) from None
    return context
