"""Consumer groups of an installation by name, and where they stand.

A group has the name of whom it serves: an agent (`math`, a variant as `math.v2`), `planner`,
`coordinator`, or its full id, as groups that hear of events need (`starlings.agent.shop.on.paid`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from aiokafka import OffsetAndMetadata, TopicPartition

from starlings.kafka.connection import Connection
from starlings.kafka.groups import GroupState, group_ids, group_state
from starlings.kafka.offsets import Done, rewound_at_ms
from starlings.kafka.readback import Ends, ends_of, starting_point
from starlings.kafka.restore_point import read_metadata
from starlings.messages import ConfigError, Topics

from .positions import Position

KNOWN = "starlings group show"


class GroupKind(StrEnum):
    """What a group's members do with a record."""

    STEPS = "steps"
    REACTIONS = "reactions"
    PLANNER = "planner"
    COORDINATOR = "coordinator"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group and what it reads."""

    id: str
    topic: str
    kind: GroupKind
    serves: str = ""  # the agent, with its variant

    @property
    def agent(self) -> str:
        """Name the agent, without its variant."""
        return self.serves.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Standing:
    """A group, who is in it, and where it stands in each partition."""

    group: Group
    state: GroupState
    positions: tuple[Position, ...]

    @property
    def pending(self) -> int:
        """How many records are not done."""
        return sum(position.pending for position in self.positions)


def group_of(topics: Topics, group_id: str) -> Group | None:
    """Say what a group reads; None where it is none that can be named here."""
    topic = topics.topic_of_group(group_id)
    if topic is None:
        return None
    if group_id == topics.planner_group:
        return Group(group_id, topic, GroupKind.PLANNER)
    if group_id == topics.coordinator_group:
        return Group(group_id, topic, GroupKind.COORDINATOR)
    serves = topics.agent_of(topic)
    if group_id.startswith(f"{topics.prefix}shadow."):
        return Group(group_id, topic, GroupKind.SHADOW)
    if serves is not None:
        return Group(group_id, topic, GroupKind.STEPS, serves)
    agent = group_id.removeprefix(f"{topics.prefix}agent.").partition(".on.")[0]
    return Group(group_id, topic, GroupKind.REACTIONS, agent)


async def find_group(connection: Connection, topics: Topics, name: str) -> Group:
    """Find a group by whom it serves or by its id, with or without the installation's prefix.

    Raises:
        ConfigError: there is none; it names those that there are.
    """
    known = await list_groups(connection, topics)
    by_name = {group.serves: group for group in known if group.kind is GroupKind.STEPS}
    by_id = {group.id: group for group in known}
    found = by_id.get(name) or by_id.get(f"{topics.prefix}{name}") or by_name.get(name)
    if found is not None:
        return found
    names = sorted([*by_name, *(short(topics, g) for g in known if g.id not in by_name)])
    raise ConfigError(
        f"no consumer group is named {name!r}, and no agent of that name has a topic; there are: "
        + (", ".join(dict.fromkeys(names)) or "none")
        + f" (`{KNOWN}` shows them)"
    )


def short(topics: Topics, group: Group) -> str:
    """Name a group as short as it goes."""
    if group.kind is GroupKind.STEPS:
        return group.serves
    return group.id.removeprefix(topics.prefix)


async def list_groups(connection: Connection, topics: Topics) -> list[Group]:
    """List the groups of an installation: those that Kafka knows, and those that have a topic."""
    names = await connection.topic_names()
    ids = set(await group_ids(connection, topics.prefix))
    ids |= {topics.planner_group} if topics.requests in names else set()
    ids |= {topics.coordinator_group} if topics.events in names else set()
    served = [topics.agent_of(name) for name in names]
    ids |= {topics.agent_group(agent) for agent in served if agent}
    found = [group_of(topics, group_id) for group_id in sorted(ids)]
    return [group for group in found if group is not None and group.topic in names]


async def standing(connection: Connection, group: Group) -> Standing:
    """See where a group stands.

    Raises:
        ConfigError: its topic is missing, or something may not be seen.
        KafkaError: Kafka is away.
    """
    places = [TopicPartition(group.topic, p) for p in await connection.partitions(group.topic)]
    state = await group_state(connection, group.id)
    commits = await connection.committed(group.id, places)
    ends = await ends_of(connection, places)
    read = _of_coordinator if group.kind is GroupKind.COORDINATOR else _of_consumer
    positions = tuple(read(place, commits, ends[place]) for place in sorted(places))
    return Standing(group, state, positions)


def _of_consumer(
    place: TopicPartition, commits: Mapping[TopicPartition, OffsetAndMetadata], ends: Ends
) -> Position:
    commit = commits.get(place)
    return Position(
        place=place,
        begin=ends.begin,
        end=ends.end,
        done=starting_point(place, commit, ends),
        committed=commit is not None,
        rewound_ms=rewound_at_ms(commit.metadata) if commit else 0,
    )


def _of_coordinator(
    place: TopicPartition, commits: Mapping[TopicPartition, OffsetAndMetadata], ends: Ends
) -> Position:
    commit = commits.get(place)
    offset = commit.offset if commit else ends.begin
    low = min(max(offset, ends.begin), ends.end)
    restore_from = read_metadata(commit.metadata) if commit else None
    return Position(
        place=place,
        begin=ends.begin,
        end=ends.end,
        done=Done(low),
        committed=commit is not None,
        restore_from=ends.begin if restore_from is None else restore_from,
    )
