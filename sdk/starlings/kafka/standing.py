"""Topics and groups as the brokers have them: who holds the copies, and what this user may do.

Brokers say, for each resource that they describe, what the user who asks may do with it. So nobody
needs the right to list ACLs in order to know what he may.

Source: KIP-430 (Kafka 2.3): Metadata 8, DescribeGroups 3; aiokafka (0.14) has neither whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from starlings.messages.access import Operation, Resource, Right

from .connection import Connection

_TEXT = String("utf-8")
_UNTOLD = -(2**31)
_BITS = {
    Operation.READ: 3,
    Operation.WRITE: 4,
    Operation.CREATE: 5,
    Operation.DELETE: 6,
    Operation.ALTER: 7,
    Operation.DESCRIBE: 8,
    Operation.DESCRIBE_CONFIGS: 10,
    Operation.ALTER_CONFIGS: 11,
}


@dataclass(frozen=True, slots=True)
class Copies:
    """One partition: who leads it, who has a copy, and whose copy is up to date."""

    number: int
    leader: int | None
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicStanding:
    """A topic as the brokers have it."""

    name: str
    partitions: tuple[Copies, ...]
    may: frozenset[Operation]

    @property
    def right(self) -> Right:
        """Write what this user may do with it as a right."""
        return Right(Resource.TOPIC, self.name, tuple(sorted(self.may)))


@dataclass(frozen=True, slots=True)
class ClusterStanding:
    """The brokers that there are, and the topics that were asked about and may be seen."""

    brokers: int
    topics: Mapping[str, TopicStanding]


async def look_at_topics(connection: Connection, names: Sequence[str]) -> ClusterStanding:
    """Ask a broker about topics, creating none; those that are missing or hidden are left out."""
    async with connection.administering() as admin:
        client: AIOKafkaClient = admin._client  # noqa: SLF001 - it has no such call
        node = client.get_random_node()
        if node is None:
            raise KafkaConnectionError("no broker is known")
        response = await client.send(node, _TopicsRequest(names))
    found = [t for t in response.topics if for_code(t[0]) is NoError]
    return ClusterStanding(len(response.brokers), {t[1]: _topic(t) for t in found})


async def rights_in_groups(connection: Connection, group_ids: Sequence[str]) -> list[Right]:
    """Ask what this user may do with groups; those that may not be seen are left out."""
    async with connection.administering() as admin:
        client: AIOKafkaClient = admin._client  # noqa: SLF001 - it has no such call
        nodes = await asyncio.gather(*(admin.find_coordinator(group) for group in group_ids))
        rights = []
        for group, node in zip(group_ids, nodes, strict=True):
            response = await client.send(node, _GroupRequest(group))
            code, *_, operations = response.groups[0]
            if for_code(code) is NoError:
                may = tuple(sorted(_operations(operations)))
                rights.append(Right(Resource.GROUP, group, may))
    return rights


def _topic(found: Sequence[Any]) -> TopicStanding:
    _, name, _, partitions, operations = found
    copies = [
        Copies(number, leader if leader >= 0 else None, tuple(replicas), tuple(in_sync))
        for _, number, leader, _, replicas, in_sync, _ in partitions
    ]
    copies.sort(key=lambda each: each.number)
    return TopicStanding(name, tuple(copies), _operations(operations))


def _operations(bits: int) -> frozenset[Operation]:
    if bits == _UNTOLD:
        return frozenset()
    return frozenset(operation for operation, bit in _BITS.items() if bits >> bit & 1)


class _TopicsResponse(Response):  # type: ignore[misc]  # the client has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsRequest(Request[_TopicsStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[_TopicsStruct]) -> _TopicsStruct:
        return request_struct_class(self._names, False, False, True)


class _GroupResponse(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", _TEXT),
                ("state", _TEXT),
                ("protocol_type", _TEXT),
                ("protocol", _TEXT),
                (
                    "members",
                    Array(
                        ("member_id", _TEXT),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _GroupStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupResponse
    SCHEMA = Schema(("groups", Array(_TEXT)), ("include_authorized_operations", Boolean))


class _GroupRequest(Request[_GroupStruct]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_GroupStruct]) -> _GroupStruct:
        return request_struct_class([self._group], True)
