"""Notices that nothing arrives although there is something to fetch.

The Kafka client never bootstraps anew and has known stalls, so silence is checked against what the
brokers say to a fresh client. Pure: the clock's readings and the facts are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError


class Stalled(KafkaError):  # type: ignore[misc]  # noqa: N818 - a statement; untyped base
    """The consumer must be built anew."""


class Watchdog:
    """Knows since when each partition has been waited for in vain."""

    def __init__(self, stall_s: float) -> None:
        self.stall_s = stall_s
        self._waiting: dict[TopicPartition, float] = {}

    def arrived(self, tp: TopicPartition) -> None:
        """Hear that records came: the wait begins anew at the next look."""
        self._waiting.pop(tp, None)

    def reset(self) -> None:
        """Forget everything, as after a rebalance."""
        self._waiting.clear()

    def suspects(self, wanted: Iterable[TopicPartition], now: float) -> list[TopicPartition]:
        """Say which of the partitions now asked for have been silent for too long."""
        since = self._waiting
        self._waiting = {tp: since.get(tp, now) for tp in wanted}
        return [tp for tp, begun in self._waiting.items() if now - begun >= self.stall_s]

    def silent(self, tp: TopicPartition) -> bool:
        """Say whether nothing has come since the partition was last looked at."""
        return tp in self._waiting
