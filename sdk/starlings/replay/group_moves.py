"""Moving a consumer group: to where, what that means for each partition, and doing it.

What makes a rewound record really run again, at the agents:
- Its offset is not done any more; ids of records before the target stay remembered, so a repeat of
  something that counts as done stays dropped.
- The commit carries a mark, the brokers' time of the rewind. Results older than that do not count
  as a step's result (`agents/settled.py`), and a member that was cut off meanwhile forgets what it
  knew to be done (`kafka/partition.py`). The mark stays in all later commits of the group.
- Ends that the agent's checkpoints remember are taken back first, for those records.

All of it can be repeated: a move that was cut short is made whole by making it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from aiokafka import ConsumerRecord, OffsetAndMetadata, TopicPartition

from starlings.agents.registry_view import registry_view
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.groups import group_state, move_group
from starlings.kafka.offsets import encode
from starlings.kafka.partition import id_of
from starlings.kafka.publisher import Publisher
from starlings.kafka.readback import ends_of
from starlings.kafka.restore_point import write_metadata
from starlings.messages import (
    AgentAlive,
    CommandRefused,
    ConfigError,
    Topics,
    TransientError,
    work_of,
)

from .groups import Group, GroupKind, Standing, standing
from .kept_work import KeptWork, read_kept_work, take_ends_back
from .positions import Move, moved
from .ranges import Range
from .reading import LogReader

BEGINNING, END = "beginning", "end"

Target = datetime | int | str  # a time, an offset, BEGINNING or END


@dataclass(frozen=True, slots=True)
class GroupMove:
    """A group, and what becomes of its partitions."""

    standing: Standing
    moves: tuple[Move, ...]

    @property
    def changes(self) -> tuple[Move, ...]:
        """List the partitions that are moved."""
        return tuple(move for move in self.moves if move.changes)

    @property
    def again(self) -> int:
        """How many offsets that were done are to be done again."""
        return sum(end - first for move in self.moves for first, end in move.again)

    @property
    def skipped(self) -> int:
        """How many offsets that were not done never will be."""
        return sum(end - first for move in self.moves for first, end in move.skipped)


async def plan_move(
    connection: Connection,
    found: Standing,
    target: Target,
    *,
    partition: int | None = None,
    forward: bool = False,
) -> GroupMove:
    """Say what a move to a time or offset would do, changing nothing.

    Raises:
        ConfigError: there is no such partition, or an offset does not fit.
        KafkaError: Kafka is away.
    """
    chosen = [p for p in found.positions if partition in (None, p.place.partition)]
    if not chosen:
        raise ConfigError(
            f"{found.group.topic} has no partition {partition}: it has 0 to "
            f"{len(found.positions) - 1}"
        )
    offsets = await _offsets(connection, [p.place for p in chosen], target)
    for position in chosen:
        if isinstance(target, int) and target > position.end:
            raise ConfigError(
                f"{position.place.topic}/{position.place.partition} ends at {position.end}: "
                f"there is no offset {target} to move to"
            )
    moves = tuple(moved(p, offsets[p.place], forward=forward) for p in chosen)
    return GroupMove(found, moves)


async def _offsets(
    connection: Connection, places: Sequence[TopicPartition], target: Target
) -> dict[TopicPartition, int]:
    if isinstance(target, int):
        if len(places) > 1:
            raise ConfigError(
                f"an offset is one of a partition, and {places[0].topic} has {len(places)}: "
                "say which by --partition, or give a time"
            )
        return {places[0]: target}
    ends = await ends_of(connection, places)
    if isinstance(target, str):
        return {p: ends[p].begin if target == BEGINNING else ends[p].end for p in places}
    at_ms = max(int(target.timestamp() * 1_000), 0)
    async with connection.reading() as consumer:
        found = await consumer.offsets_for_times(dict.fromkeys(places, at_ms))
    return {p: found[p].offset if found.get(p) else ends[p].end for p in places}


async def records_again(connection: Connection, move: GroupMove) -> AsyncGenerator[ConsumerRecord]:
    """Read the records that are to be done again."""
    wanted = {m.place: m.again for m in move.moves if m.again}
    ranges = [
        Range(
            topic=m.place.topic,
            partition=m.place.partition,
            begin=m.before.begin,
            first=m.again[0][0],
            end=m.again[-1][1],
        )
        for m in move.moves
        if m.again
    ]
    async with aclosing(LogReader(connection, ranges).records()) as records:
        async for record in records:
            place = TopicPartition(record.topic, record.partition)
            if any(first <= record.offset < end for first, end in wanted[place]):
                yield record


async def make_move(connection: Connection, codec: Codec, topics: Topics, move: GroupMove) -> None:
    """Move the group.

    Raises:
        CommandRefused: somebody is in the group; nothing was changed.
        ConfigError: this Kafka user may not do that.
        TransientError: Kafka did not answer; to be made again.
    """
    group = move.standing.group
    await refuse_while_alive(connection, codec, topics, group)
    now = await standing(connection, group)
    if [p.done for p in now.positions] != [p.done for p in move.standing.positions]:
        raise CommandRefused(f"{group.id} was at work since it was looked at: look again")
    if not move.changes:
        return
    if group.kind is GroupKind.STEPS:
        await _take_ends_back(connection, codec, topics, move)
    mark = await _mark(connection, topics, move)
    commits = {m.place: _commit(m, group.kind, mark) for m in move.changes}
    await move_group(connection, group.id, commits)


async def refuse_while_alive(
    connection: Connection, codec: Codec, topics: Topics, group: Group
) -> None:
    """Make sure that nobody is in a group.

    Raises:
        CommandRefused: naming those who are.
    """
    state = await group_state(connection, group.id)
    if state.empty:
        return
    names = "; ".join(str(member) for member in state.members) or "members that are joining"
    if group.agent:
        async with registry_view(connection, codec, topics) as registry:
            alive = [i.instance for i in registry.instances() if _serves(i, group)]
        names += f" (instances that are seen: {', '.join(sorted(alive))})" if alive else ""
    raise CommandRefused(
        f"the group {group.id} is at work: {names}. Stop all of them first (scale to zero); one "
        "that was killed counts until its session has timed out"
    )


def _serves(instance: AgentAlive, group: Group) -> bool:
    name = f"{instance.agent}.{instance.variant}" if instance.variant else instance.agent
    return name == group.serves


def _commit(move: Move, kind: GroupKind, mark: int) -> OffsetAndMetadata:
    after = move.after
    if kind is GroupKind.COORDINATOR:
        known = move.before.restore_from
        restore_from = after.low if known is None else min(known, after.low)
        return OffsetAndMetadata(after.low, write_metadata(restore_from))
    return OffsetAndMetadata(after.low, encode(after, at_ms=mark, rewound_ms=mark))


async def _take_ends_back(
    connection: Connection, codec: Codec, topics: Topics, move: GroupMove
) -> None:
    topic = topics.checkpoints(move.standing.group.serves)
    partitions = [m.place.partition for m in move.moves if m.again]
    kept: KeptWork = await read_kept_work(connection, topic, partitions)
    if not kept.ended:
        return
    works = []
    async with aclosing(records_again(connection, move)) as records:
        async for record in records:
            work = work_of(id_of(record).decode(errors="replace"))
            if (record.partition, work) in kept.ended:
                works.append((record.partition, work, record.offset))
    publisher = Publisher(connection, codec)
    await publisher.start()
    try:
        await take_ends_back(publisher, topic, works)
    finally:
        await publisher.stop()


async def _mark(connection: Connection, topics: Topics, move: GroupMove) -> int:
    """Find a time after all results that are in the log, by the clock of those who keep it."""
    places = [TopicPartition(topics.events, p) for p in await connection.partitions(topics.events)]
    ends = await ends_of(connection, places)
    filled = [place for place in places if ends[place].end > ends[place].begin]
    try:
        last = await asyncio.gather(
            *(connection.record_at(place, ends[place].end - 1) for place in filled)
        )
    except TimeoutError:
        raise TransientError(f"{topics.events}: nothing arrives of it; try again") from None
    newest = max((record.timestamp for record in last if record is not None), default=0)
    before = max(position.rewound_ms for position in move.standing.positions)
    return max(newest, before) + 1
