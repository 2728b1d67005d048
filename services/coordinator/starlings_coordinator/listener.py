"""Who hears of rebalances: only the coordinator's consumer at work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition


class Owner(Protocol):
    """Who gives partitions up and takes them up."""

    def works_with(self, consumer: AIOKafkaConsumer) -> bool:
        """Say whether a consumer is the one at work."""

    async def give_up(self, consumer: AIOKafkaConsumer, revoked: list[TopicPartition]) -> None:
        """Let partitions go, before others may have them."""

    async def take_up(self, consumer: AIOKafkaConsumer, assigned: list[TopicPartition]) -> None:
        """Begin with partitions."""


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of rebalances as long as its consumer is the one at work.

    A consumer that was given up may take its time to leave.
    """

    def __init__(self, owner: Owner, consumer: AIOKafkaConsumer) -> None:
        self._owner = owner
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Pass it on."""
        if self._owner.works_with(self._consumer):
            await self._owner.give_up(self._consumer, list(revoked))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pass it on."""
        if self._owner.works_with(self._consumer):
            await self._owner.take_up(self._consumer, list(assigned))
