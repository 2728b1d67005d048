"""Topics as they have to be: what is missing, what differs, and making it so.

Partitions are never added silently: keys would move, and with them the order of each run's facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from starlings.messages import ConfigError, TopicSpec, TransientError

from .connection import Connection

_DYNAMIC_TOPIC_CONFIG = 1  # DescribeConfigs' config_source: set on the topic itself
COPIES = 3
COMMAND = "starlings topics ensure"


class Action(StrEnum):
    """What has to happen to a topic."""

    NOTHING = "ok"
    CREATE = "create"
    ALTER = "alter"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class TopicChange:
    """A topic, what has to happen to it, and why."""

    name: str
    action: Action
    details: str = ""


async def plan_topics(connection: Connection, specs: Sequence[TopicSpec]) -> list[TopicChange]:
    """Compare topics with how they have to be, changing nothing."""
    async with connection.administering() as admin:
        return [change for change, _ in await _compare(admin, specs)]


async def ensure_topics(
    connection: Connection, specs: Sequence[TopicSpec], *, replication: int | None = None
) -> list[TopicChange]:
    """Create missing topics and mend settings; say what was done, and what is left to people.

    `replication` None means three copies, or as many as there are brokers.
    """
    async with connection.administering() as admin:
        compared = await _compare(admin, specs)
        wanted = {spec.name: spec for spec in specs}
        for change, own_settings in compared:
            if change.action is Action.ALTER:
                await _alter(admin, wanted[change.name], own_settings)
        await _create(
            admin,
            [wanted[c.name] for c, _ in compared if c.action is Action.CREATE],
            replication,
        )
        return [change for change, _ in compared]


async def check_topics(connection: Connection, specs: Sequence[TopicSpec]) -> None:
    """Make sure that topics are as they have to be.

    Raises:
        ConfigError: naming every topic that is not, and the command that mends it.
    """
    changes = await plan_topics(connection, specs)
    wrong = [c for c in changes if c.action in (Action.CREATE, Action.ALTER)]
    if wrong:
        said = "; ".join(f"{c.name}: {c.details}" for c in wrong)
        raise ConfigError(f"topics are not as they have to be ({said}): run `{COMMAND}`")


async def group_lag(
    connection: Connection, group_id: str, topics: Sequence[str]
) -> dict[TopicPartition, int]:
    """Tell how many records a group has not committed, by partition of existing topics."""
    async with connection.administering() as admin, connection.reading() as consumer:
        found = await admin.describe_topics(list(topics))
        places = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in found
            if topic["error_code"] == 0
            for partition in topic["partitions"]
        ]
        if not places:
            return {}
        committed = await connection.committed(group_id, places)
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


async def _compare(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> _Compared:
    names = [spec.name for spec in specs]
    existing = {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if topic["topic"] in names
    }
    settings = await _settings(admin, list(existing))
    return [_compare_one(spec, existing.get(spec.name), settings.get(spec.name)) for spec in specs]


def _compare_one(
    spec: TopicSpec, partitions: int | None, settings: tuple[dict[str, str], dict[str, str]] | None
) -> tuple[TopicChange, dict[str, str]]:
    if partitions is None or settings is None:
        details = f"missing ({spec.partitions} partitions)"
        return TopicChange(spec.name, Action.CREATE, details), {}
    every, own = settings
    wrong = {k: every.get(k) for k, v in spec.settings.items() if every.get(k) != v}
    if wrong:
        said = ", ".join(f"{k} is {v}, not {spec.settings[k]}" for k, v in wrong.items())
        return TopicChange(spec.name, Action.ALTER, said), own
    if partitions < spec.partitions:
        details = (
            f"{partitions} partitions, not {spec.partitions}: adding some moves keys, "
            "so do it by hand while no run is open"
        )
        return TopicChange(spec.name, Action.BY_HAND, details), own
    return TopicChange(spec.name, Action.NOTHING), own


async def _settings(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Read all settings of topics, and those that are set on the topic itself."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.to_object()["resources"]:
            if resource["error_code"]:
                raise _failed(resource["resource_name"], resource["error_code"], None)
            every, own = {}, {}
            for entry in resource["config_entries"]:
                name, value = entry["config_names"], entry["config_value"]
                every[name] = value
                if entry.get("config_source") == _DYNAMIC_TOPIC_CONFIG:
                    own[name] = value
            found[resource["resource_name"]] = (every, own)
    return found


async def _create(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], replication: int | None
) -> None:
    if not specs:
        return
    if replication is None:  # the client cannot ask for the broker's default
        cluster = await admin.describe_cluster()
        replication = min(COPIES, len(cluster["brokers"]))
    topics = [
        NewTopic(spec.name, spec.partitions, replication, topic_configs=dict(spec.settings))
        for spec in specs
    ]
    response = await admin.create_topics(topics)
    for name, code, *rest in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise _failed(name, code, rest[0] if rest else None)


async def _alter(admin: AIOKafkaAdminClient, spec: TopicSpec, own: dict[str, str]) -> None:
    # AlterConfigs resets every setting that it does not name, so all of the topic's own go along
    resource = ConfigResource(ConfigResourceType.TOPIC, spec.name, {**own, **spec.settings})
    for response in await admin.alter_configs([resource]):
        for code, message, *_ in response.resources:
            if code:
                raise _failed(spec.name, code, message)


def _failed(topic: str, code: int, message: Any) -> Exception:
    error = for_code(code)
    said = f"{error.__name__}: {message}" if message else error.__name__
    if "Authorization" in error.__name__:
        return ConfigError(f"topic {topic}: this Kafka user may not do that ({said})")
    if issubclass(error, KafkaError) and getattr(error, "retriable", False):
        return TransientError(f"topic {topic}: {said}")
    return ConfigError(f"topic {topic}: {said}")
