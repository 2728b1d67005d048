"""Topics as they have to be: what is missing, what differs, and making it so.

Partitions are never added silently: keys would move, and with them the order of each run's facts.
A topic that has to be like another one (`TopicSpec.like`) is made with as many partitions as that
one has, and follows where it has grown: its writers choose the partition, no key moves.
The calls return what they found and did; printing it is for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from starlings.messages import ConfigError, TopicSpec, TransientError

from .connection import Connection
from .metadata import FoundTopic, find_topics

log = structlog.get_logger(__name__)

_DYNAMIC_TOPIC_CONFIG = 1  # DescribeConfigs' config_source: set on the topic itself
_BROKERS_DEFAULT = -1  # KIP-464, brokers from 2.4 on
_LOOKS = 100
_LOOK_AGAIN_S = 0.1
COMMAND = "starlings topics ensure"


class Action(StrEnum):
    """What has to happen to a topic."""

    NOTHING = "ok"
    CREATE = "create"
    ALTER = "alter"
    GROW = "grow"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic, what has to happen to it, and why."""

    name: str
    action: Action
    details: str = ""
    partitions: int = field(default=0, compare=False)  # how many it has to have


async def plan_topics(connection: Connection, specs: Sequence[TopicSpec]) -> list[TopicChange]:
    """Compare topics with how they have to be, changing nothing."""
    async with connection.administering() as admin:
        return [change for change, _ in await _compare(admin, specs)]


async def ensure_topics(
    connection: Connection, specs: Sequence[TopicSpec], *, replication: int | None = None
) -> list[TopicChange]:
    """Create missing topics and mend settings; say what was done, and what is left to people.

    `replication` None means what the brokers are set to (`default.replication.factor`).

    Raises:
        ConfigError: this Kafka user may not do that, or Kafka refuses a setting.
    """
    async with connection.administering() as admin:
        compared = await _compare(admin, specs)
        wanted = {spec.name: spec for spec in specs}
        for change, own_settings in compared:
            if change.action in (Action.ALTER, Action.GROW):
                await _alter(admin, wanted[change.name], own_settings)
            if change.action is Action.GROW:
                await _grow(admin, change)
        await _create(
            admin,
            [
                replace(wanted[change.name], partitions=change.partitions)
                for change, _ in compared
                if change.action is Action.CREATE
            ],
            replication,
        )
        await _until_known(admin, [spec.name for spec in specs])
        return [change for change, _ in compared]


async def check_topics(
    connection: Connection, specs: Sequence[TopicSpec], *, command: str = COMMAND
) -> None:
    """Make sure that topics are as they have to be; `command` is what mends them.

    Raises:
        ConfigError: naming every topic that is not, and the command that mends it.
    """
    changes = await plan_topics(connection, specs)
    wrong = [c for c in changes if c.action in (Action.CREATE, Action.ALTER, Action.GROW)]
    unlike = {spec.name for spec in specs if spec.like}
    by_hand = [c for c in changes if c.action is Action.BY_HAND and c.name in unlike]
    if by_hand:
        said = "; ".join(f"{c.name}: {c.details}" for c in by_hand)
        raise ConfigError(f"topics are not as they have to be ({said})")
    if wrong:
        said = "; ".join(f"{c.name}: {c.details}" for c in wrong)
        raise ConfigError(f"topics are not as they have to be ({said}): run `{command}`")


async def grow_topic(connection: Connection, name: str, partitions: int) -> None:
    """Add partitions to a topic, and wait until the brokers know of them.

    Keys move: who calls it has made sure that nothing depends on where they lay.

    Raises:
        ConfigError: this Kafka user may not do that, or Kafka refuses.
    """
    async with connection.administering() as admin:
        await _grow(admin, TopicChange(name, Action.GROW, partitions=partitions))
        for _ in range(_LOOKS):
            if len((await _find(admin, [name]))[name].partitions) >= partitions:
                return
            await asyncio.sleep(_LOOK_AGAIN_S)


async def effective_settings(
    connection: Connection, names: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """Read all settings that hold for topics, their own and the brokers'.

    Those of topics whose settings this user may not read are left out.
    """
    async with connection.administering() as admin:
        return {name: dict(every) for name, (every, _) in (await _settings(admin, names)).items()}


async def group_lag(
    connection: Connection, group_id: str, topics: Sequence[str]
) -> dict[TopicPartition, int]:
    """Tell how many records a group has not committed, by partition of existing topics."""
    found = await connection.find_topics(topics)
    places = [TopicPartition(t.name, number) for t in found.values() for number in t.partitions]
    if not places:
        return {}
    committed = await connection.committed(group_id, places)
    async with connection.reading() as consumer:
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
    return {
        place: ends[place] - max(committed[place].offset, begins[place])
        if place in committed
        else ends[place] - begins[place]
        for place in places
    }


# -- comparing -----------------------------------------------------------------------------------

_Compared = list[tuple[TopicChange, dict[str, str]]]
_Settings = tuple[dict[str, str], dict[str, str]]  # all, and those set on the topic itself


async def _compare(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> _Compared:
    likes = {spec.like for spec in specs if spec.like}
    found = await _find(admin, sorted({spec.name for spec in specs} | likes))
    for topic in found.values():
        if topic.hidden:
            raise ConfigError(
                f"this Kafka user may not see {topic.name}: it needs the ACL DESCRIBE"
            )
    settings = await _settings(admin, [s.name for s in specs if not found[s.name].missing])
    fitted = [_like(spec, found) for spec in specs]
    return [_compare_one(spec, found[spec.name], settings.get(spec.name)) for spec in fitted]


def _like(spec: TopicSpec, found: dict[str, FoundTopic]) -> TopicSpec:
    """Ask for as many partitions as the topic has that this one has to be like."""
    if spec.like is None or found[spec.like].missing:
        return spec
    return replace(spec, partitions=len(found[spec.like].partitions))


def _compare_one(
    spec: TopicSpec, found: FoundTopic, settings: _Settings | None
) -> tuple[TopicChange, dict[str, str]]:
    count = spec.partitions
    if found.missing:
        return TopicChange(spec.name, Action.CREATE, f"missing ({count} partitions)", count), {}
    every, own = settings or (spec.settings, {})  # what may not be seen is believed
    if spec.like and len(found.partitions) != count:
        return _unlike(spec, len(found.partitions)), own
    wrong = {k: every.get(k) for k, v in spec.settings.items() if every.get(k) != v}
    if wrong:
        said = ", ".join(f"{k} is {v}, not {spec.settings[k]}" for k, v in wrong.items())
        return TopicChange(spec.name, Action.ALTER, said, count), own
    if len(found.partitions) < count:
        details = (
            f"{len(found.partitions)} partitions, not {count}: adding some moves keys, "
            "so do it while no run is open: `starlings topics grow`"
        )
        return TopicChange(spec.name, Action.BY_HAND, details, count), own
    return TopicChange(spec.name, Action.NOTHING, partitions=count), own


def _unlike(spec: TopicSpec, has: int) -> TopicChange:
    said = f"{has} partitions, and {spec.like} has {spec.partitions}"
    if has < spec.partitions:
        return TopicChange(spec.name, Action.GROW, said, spec.partitions)
    remedy = f"add partitions to {spec.like}, or delete {spec.name} while nothing is open"
    return TopicChange(spec.name, Action.BY_HAND, f"{said}; {remedy}", spec.partitions)


async def _find(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, FoundTopic]:
    return await find_topics(admin._client, names)  # noqa: SLF001 - it has no such call


async def _settings(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, _Settings]:
    """Read all settings of topics, and those that are set on the topic itself."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, _Settings] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.to_object()["resources"]:
            name, code = resource["resource_name"], resource["error_code"]
            if for_code(code) is TopicAuthorizationFailedError:
                log.warning("settings not checked: needs the ACL DESCRIBE_CONFIGS", topic=name)
            elif code:
                raise _failed(name, code, None)
            else:
                found[name] = _entries(resource["config_entries"])
    return found


def _entries(entries: Sequence[dict[str, Any]]) -> _Settings:
    every = {entry["config_names"]: entry["config_value"] for entry in entries}
    own = {
        entry["config_names"]: entry["config_value"]
        for entry in entries
        if entry.get("config_source") == _DYNAMIC_TOPIC_CONFIG
    }
    return every, own


# -- changing ------------------------------------------------------------------------------------


async def _create(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication: int | None
) -> None:
    if not specs:
        return
    topics = [_new_topic(spec, replication or _BROKERS_DEFAULT) for spec in specs]
    response = await admin.create_topics(topics)
    for name, code, *rest in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise _failed(name, code, rest[0] if rest else None)


def _new_topic(spec: TopicSpec, replication: int) -> NewTopic:
    topic = NewTopic(spec.name, spec.partitions, 1, topic_configs=dict(spec.settings))
    topic.replication_factor = replication  # the constructor refuses the broker's default
    return topic


async def _until_known(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait, within a bound, until the brokers have heard of new topics from the controller."""
    for _ in range(_LOOKS):
        if all(topic.error is None for topic in (await _find(admin, names)).values()):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _alter(admin: AIOKafkaAdminClient, spec: TopicSpec, own: dict[str, str]) -> None:
    # AlterConfigs resets every setting that it does not name, so all of the topic's own go along
    resource = ConfigResource(ConfigResourceType.TOPIC, spec.name, {**own, **spec.settings})
    for response in await admin.alter_configs([resource]):
        for code, message, *_ in response.resources:
            if code:
                raise _failed(spec.name, code, message)


async def _grow(admin: AIOKafkaAdminClient, change: TopicChange) -> None:
    response = await admin.create_partitions({change.name: NewPartitions(change.partitions)})
    for name, code, message in response.topic_errors:
        if code:
            raise _failed(name, code, message)


def _failed(topic: str, code: int, message: Any) -> Exception:
    error = for_code(code)
    said = f"{error.__name__}: {message}" if message else error.__name__
    if "Authorization" in error.__name__:
        return ConfigError(
            f"topic {topic}: this Kafka user may not do that ({said}): it needs the ACLs CREATE, "
            "ALTER_CONFIGS and DESCRIBE_CONFIGS, or somebody who has them runs this"
        )
    if issubclass(error, KafkaError) and getattr(error, "retriable", False):
        return TransientError(f"topic {topic}: {said}")
    return ConfigError(f"topic {topic}: {said}")
