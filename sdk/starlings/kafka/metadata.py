"""What a Kafka says about topics, asked in a way that creates none.

Brokers with `auto.create.topics.enable` create whatever topic a client asks for, with settings that
are not ours; this asks them not to. Source: KIP-204 and Metadata API, version 4 and later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """One topic: its partitions, or why there are none to tell of."""

    name: str
    partitions: tuple[int, ...]
    error: type[KafkaError] | None

    @property
    def missing(self) -> bool:
        """Whether there is no such topic."""
        return self.error is UnknownTopicOrPartitionError

    @property
    def hidden(self) -> bool:
        """Whether this user may not even see whether there is."""
        return self.error is TopicAuthorizationFailedError


async def find_topics(client: AIOKafkaClient, names: Sequence[str]) -> dict[str, FoundTopic]:
    """Look topics up at some broker, creating none."""
    node = client.get_random_node()
    if node is None:
        raise KafkaConnectionError("no broker is known")
    request = MetadataRequest(list(names), allow_auto_topic_creation=False)
    response = await client.send(node, request)
    return {topic["topic"]: _found(topic) for topic in response.to_object()["topics"]}


def _found(topic: dict[str, object]) -> FoundTopic:
    error = for_code(topic["error_code"])
    partitions: Sequence[dict[str, int]] = topic["partitions"]  # type: ignore[assignment]
    return FoundTopic(
        str(topic["topic"]),
        tuple(sorted(partition["partition"] for partition in partitions)),
        None if error is NoError else error,
    )
