"""Consumer groups seen from outside: who is in them, and moving one that nobody is in.

Kafka itself refuses a commit from outside while a group has members, so whoever looked a moment ago
and moves it now cannot meet a member that has just joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stamina
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    for_code,
)

from starlings.messages import CommandRefused, ConfigError

from .assignor import version_told
from .connection import COORDINATOR_WITHIN_S, Connection
from .starting import start_client

EMPTY = frozenset({"Empty", "Dead"})  # dead: there is no such group, or not any more


@dataclass(frozen=True, slots=True)
class Member:
    """A process that consumes in a group."""

    id: str
    client: str
    host: str
    places: tuple[TopicPartition, ...] = ()
    version: str | None = None  # of Starlings, where it tells

    def __str__(self) -> str:
        """Name it as people find it again."""
        return f"{self.id} at {self.host.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as its coordinator sees it."""

    group_id: str
    state: str
    members: tuple[Member, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nobody is in it, or joining."""
        return self.state in EMPTY and not self.members


async def group_state(connection: Connection, group_id: str) -> GroupState:
    """Ask who is in a group; one that never was is empty.

    Raises:
        ConfigError: this Kafka user may not see the group.
        KafkaError: Kafka is away.
    """
    async with connection.administering() as admin:
        async for attempt in stamina.retry_context(
            on=_passing, attempts=None, timeout=COORDINATOR_WITHIN_S, wait_initial=0.1
        ):
            with attempt:
                found = await _described(admin, group_id)
    members = tuple(_member(entry) for entry in found["members"])
    return GroupState(group_id, found["state"] or "Dead", members)


async def _described(admin: AIOKafkaAdminClient, group_id: str) -> dict[str, Any]:
    (response,) = await admin.describe_consumer_groups([group_id])
    (found,) = response.to_object()["groups"]
    if found["error_code"]:
        error = for_code(found["error_code"])
        if error is GroupAuthorizationFailedError:
            raise ConfigError(
                f"this Kafka user may not see the group {group_id}: it needs the ACL DESCRIBE"
            )
        raise error(f"group {group_id}")
    return dict(found)


def _member(entry: Mapping[str, Any]) -> Member:
    data = entry["member_assignment"]
    places = ConsumerProtocolMemberAssignment.decode(data).partitions() if data else ()
    return Member(
        entry["member_id"],
        entry["client_id"],
        entry["client_host"],
        tuple(sorted(places)),
        version_told(entry["member_metadata"]),
    )


async def group_ids(connection: Connection, prefix: str) -> list[str]:
    """Name the groups that Kafka knows under a prefix."""
    async with connection.administering() as admin:
        found = await admin.list_consumer_groups()
    return sorted(group_id for group_id, *_ in found if group_id.startswith(prefix))


async def move_group(
    connection: Connection, group_id: str, commits: Mapping[TopicPartition, OffsetAndMetadata]
) -> None:
    """Commit for a group from outside.

    Raises:
        CommandRefused: somebody is in the group.
        ConfigError: this Kafka user may not do that.
        KafkaError: Kafka is away.
    """
    consumer = connection.consumer(group_id=group_id)
    try:
        consumer.assign(list(commits))
        await start_client(consumer)
        await consumer.commit(dict(commits))
    except CommitFailedError as error:
        raise CommandRefused(
            f"somebody has just joined the group {group_id}: nothing was moved"
        ) from error
    except GroupAuthorizationFailedError as error:
        raise ConfigError(
            f"this Kafka user may not commit for the group {group_id}: it needs the ACL READ"
        ) from error
    finally:
        await consumer.stop()


def _passing(error: Exception) -> bool:
    return isinstance(error, KafkaError) and bool(error.retriable)
