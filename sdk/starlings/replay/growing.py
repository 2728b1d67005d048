"""Adding partitions to a topic whose keys are then found in other places.

What that breaks, and so what has to be the case before:

- `events`: a run lives in one partition. No run may be open, or its next fact would lie where
  nobody knows it. A repeat of a plan is known in its partition only, for as long as the look-back
  of the coordinator lasts: so the log must have been quiet for that long.
- `steps.<agent>`, and with it `checkpoints.<agent>`: a repeat of work, and the work that undoes it,
  are known by lying in the same partition. No run may be open.
- Who has looked at a topic knows its partitions for minutes, and goes on writing by that: nobody
  who writes by keys may be at work.
- `requests`: nothing. A repeat that is planned twice is dropped on `events`, where it is one run.

Nothing is moved: what lies in a partition stays there, and is read to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlings.kafka.admin import grow_topic
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.groups import group_state
from starlings.messages import ConfigError, Topics

from .groups import Group, GroupKind, list_groups, short, standing
from .open_runs import open_runs
from .ranges import ranges_of
from .reading import LogReader

QUIET_MS = 600_000  # as the coordinator's look-back


@dataclass(frozen=True, slots=True)
class Growth:
    """A topic that is to have more partitions, and those that go with it."""

    topic: str
    now: int
    partitions: int
    along: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a topic cannot grow now, and what to do about it."""

    said: str
    remedy: str


async def plan_growth(connection: Connection, topics: Topics, name: str, partitions: int) -> Growth:
    """Find the topic that is meant, by its name with or without the prefix.

    Raises:
        ConfigError: it is none that can grow, is missing, or has as many partitions already.
    """
    topic = name if name.startswith(topics.prefix) else f"{topics.prefix}{name}"
    served = topics.agent_of(topic)
    if served is None and topic not in (topics.events, topics.requests):
        raise ConfigError(
            f"{topic} does not grow by this command: `requests`, `events` and `steps.<agent>` do "
            "(checkpoints follow their steps)"
        )
    has = len(await connection.partitions(topic))
    along = (topics.checkpoints(served),) if served is not None else ()
    behind = [name for name in along if len(await connection.partitions(name)) < partitions]
    if has > partitions or (has == partitions and not behind):
        raise ConfigError(
            f"{topic} has {has} partitions; Kafka takes none away: --partitions says how many "
            "there shall be, so more than that"
        )
    return Growth(topic, has, partitions, along)


async def hindrances(
    connection: Connection,
    codec: Codec,
    topics: Topics,
    growth: Growth,
    *,
    now_ms: int,
    quiet_ms: int = QUIET_MS,
) -> list[Hindrance]:
    """Say all that stands against it now.

    Raises:
        ConfigError: something may not be seen.
        TransientError, KafkaError: Kafka is away.
    """
    if growth.topic == topics.requests:
        return []
    found = []
    open_ = (await open_runs(connection, codec, topics, now_ms=now_ms, patience_ms=now_ms)).open
    if open_:
        runs = "1 run is open" if open_ == 1 else f"{open_:,} runs are open"
        remedy = "stop the planner, so that none begins, and let them end (or cancel them)"
        found.append(Hindrance(runs, remedy))
    for group in await list_groups(connection, topics):
        if _writes(topics, group, growth) and not (await group_state(connection, group.id)).empty:
            name = short(topics, group)
            found.append(Hindrance(f"{name} is at work", f"then stop {name}"))
    found += await _unread(connection, topics, growth)
    if growth.topic == topics.events and not open_:
        silent_ms = now_ms - await _newest_ms(connection, topics)
        if silent_ms < quiet_ms:
            said = f"the last fact is {silent_ms / 1000:.0f} s old; repeats are known so long"
            wait_s = (quiet_ms - silent_ms) / 1000
            found.append(Hindrance(said, f"wait {wait_s:.0f} s more, or say --quiet"))
    return found


async def grow(connection: Connection, growth: Growth) -> None:
    """Add the partitions; what a crash leaves undone, doing it again completes.

    The checkpoints go first: an agent starts with more of them than it needs, not with fewer.

    Raises:
        ConfigError: this Kafka user may not do that.
    """
    for name in (*growth.along, growth.topic):
        if len(await connection.partitions(name)) < growth.partitions:
            await grow_topic(connection, name, growth.partitions)


def _writes(topics: Topics, group: Group, growth: Growth) -> bool:
    """Tell whether a group's members write to a topic by keys, or read what is written so."""
    if growth.topic == topics.events:
        return True
    return group.kind in (GroupKind.PLANNER, GroupKind.COORDINATOR) or group.topic == growth.topic


async def _unread(connection: Connection, topics: Topics, growth: Growth) -> Sequence[Hindrance]:
    """Facts that no coordinator has read may begin runs; `open_runs` reads those, too.

    Work that is not done is of runs that have ended: an agent must have passed it over before what
    is known of it by its partition is worth nothing.
    """
    served = topics.agent_of(growth.topic)
    if served is None:
        return []
    group = Group(topics.agent_group(served), growth.topic, GroupKind.STEPS, served)
    pending = (await standing(connection, group)).pending
    if not pending:
        return []
    said = f"{pending:,} records of {growth.topic} are not done"
    return [Hindrance(said, f"let {served} work until none is waiting")]


async def _newest_ms(connection: Connection, topics: Topics) -> int:
    found = await ranges_of(connection, [topics.events])
    last = [r.model_copy(update={"first": max(r.begin, r.end - 1)}) for r in found]
    newest = 0
    async for record in LogReader(connection, last).records():
        newest = max(newest, int(record.timestamp))
    return newest
