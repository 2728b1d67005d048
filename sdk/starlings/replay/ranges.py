"""Stretches of partitions: what is asked for, and whether all of it is still there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import BaseModel, ConfigDict, Field

from starlings.kafka.connection import Connection


class Range(BaseModel):
    """Records of one partition from offset `first` up to, without it, offset `end`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int = Field(ge=0)
    begin: int = Field(ge=0, description="the earliest offset that the partition still had")
    begin_ms: int | None = Field(default=None, description="time of the earliest record it had")
    first: int = Field(ge=0)
    end: int = Field(ge=0)

    @property
    def place(self) -> TopicPartition:
        """Name the partition as Kafka's clients do."""
        return TopicPartition(self.topic, self.partition)

    @property
    def is_cut(self) -> bool:
        """Tell whether older records, deleted since, may have belonged to it."""
        return self.begin > 0 and self.first <= self.begin

    def __str__(self) -> str:
        """Write it as `topic/partition first..last`."""
        last = f"..{self.end - 1}" if self.end > self.first else " (nothing)"
        return f"{self.topic}/{self.partition} {self.first}{last}"


async def ranges_of(
    connection: Connection,
    topics: Collection[str],
    *,
    partitions: Mapping[str, Collection[int]] | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    first: int | None = None,
    end: int | None = None,
) -> list[Range]:
    """Ask Kafka where stretches of topics lie; without bounds all that is there now.

    Times are Unix milliseconds of records, both included; `first` and `end` are offsets, as in
    `Range`, and hold for each partition. `partitions` narrows single topics.

    Raises:
        ConfigError: a topic is missing, or not for this user to see.
    """
    narrowed = partitions or {}
    places = [
        TopicPartition(topic, number)
        for topic in topics
        for number in await connection.partitions(topic)
        if topic not in narrowed or number in narrowed[topic]
    ]
    if not places:
        return []
    async with connection.reading() as consumer:
        begins = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        earliest = await consumer.offsets_for_times(dict.fromkeys(places, 0))
        starts = await _at(consumer, places, since_ms, begins, ends)
        stops = ends if until_ms is None else await _at(consumer, places, until_ms + 1, ends, ends)
    return [
        Range(
            topic=place.topic,
            partition=place.partition,
            begin=begins[place],
            begin_ms=earliest[place].timestamp if earliest.get(place) else None,
            first=max(starts[place], begins[place], first or 0),
            end=stops[place] if end is None else min(end, stops[place]),
        )
        for place in places
    ]


async def _at(
    consumer: AIOKafkaConsumer,
    places: Sequence[TopicPartition],
    at_ms: int | None,
    unless_asked: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    """Find the first record that is not older than a time."""
    if at_ms is None:
        return unless_asked
    found = await consumer.offsets_for_times(dict.fromkeys(places, max(at_ms, 0)))
    return {place: found[place].offset if found.get(place) else ends[place] for place in places}
