"""A Kafka as a test of the Kafka room meets it: where, as whom, under which names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from starlings.blobs import BlobStore
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.messages import Topics, TopicSpec

from .kafka import SecuredKafka

#: Marks of tests in which a Kafka refuses connections. The client library closes a refused TLS
#: connection without waiting for the end of it; a loop that ends sooner leaves a transport to the
#: collector, which would tell of it in whatever test runs then.
REFUSES_CONNECTIONS = [
    pytest.mark.usefixtures("collected_here"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(function _SelectorTransport|socket.socket)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]


def settings_of(environment: dict[str, str], **overrides: object) -> KafkaSettings:
    """Read settings from KAFKA_ variables that are given, not the process's own."""
    values = {name.removeprefix("KAFKA_").lower(): value for name, value in environment.items()}
    return KafkaSettings(**{**values, **overrides})


@dataclass(frozen=True)
class Site:
    """A Kafka, names on it that this test alone has, and somebody who may use them."""

    settings: KafkaSettings
    topics: Topics
    blobs: BlobStore

    @property
    def connection(self) -> Connection:
        return Connection(self.settings, client_id="test")

    @property
    def codec(self) -> Codec:
        return Codec(source="test", blobs=self.blobs)

    async def create(self, name: str, partitions: int = 1, **settings: str) -> str:
        """Create a topic under this test's prefix, and return its full name."""
        topic = f"{self.topics.prefix}{name}"
        keys = {key.replace("_", "."): value for key, value in settings.items()}
        await ensure_topics(self.connection, [TopicSpec(topic, partitions, keys)], replication=1)
        return topic


def site_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Site:
    topics: Topics = request.getfixturevalue("topics")
    blobs = BlobStore((folder / "blobs").as_uri())
    if kind == "plain":
        bootstrap = request.getfixturevalue("kafka").bootstrap
        return Site(KafkaSettings(bootstrap=bootstrap), topics, blobs)
    secured: SecuredKafka = request.getfixturevalue("secured_kafka")
    return Site(settings_of(secured.environment("app")), Topics(f"app.{topics.prefix}"), blobs)


async def records_of(site: Site, topic: str, count: int) -> Sequence[ConsumerRecord]:
    """Read the first records of a topic as they lie there."""
    async with site.connection.reading() as consumer:
        places = [TopicPartition(topic, p) for p in await site.connection.partitions(topic)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        return [await consumer.getone() for _ in range(count)]
