"""Requests to a group's coordinator that name the member's instance, which aiokafka's do not.

aiokafka (0.14) names it where a member joins and syncs only. A member that heartbeats or commits
without it is "unknown" to the group once another process has taken its instance id: it would join
again, take the id back, and so on for ever. With it the broker says `FENCED_INSTANCE_ID`.

Source: KIP-345 and the Kafka protocol guide: JoinGroup 5, SyncGroup 3, Heartbeat 3, OffsetCommit 7
(Kafka 2.3), LeaveGroup 3 (Kafka 2.4), the last versions before the flexible ones or near to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetCommitResponse_v3
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatResponse_v1
from aiokafka.protocol.types import Array, Int16, Int32, Int64, Schema, String

FENCED_INSTANCE_ID = 82

_TEXT = String("utf-8")
_NO_LEADER_EPOCH = -1
#: What a broker has to understand: the call, its key, and its lowest version with an instance id.
_NEEDED = (
    ("JoinGroup", 11, 5),
    ("SyncGroup", 14, 3),
    ("Heartbeat", 12, 3),
    ("OffsetCommit", 8, 7),
    ("LeaveGroup", 13, 3),
)


def not_understood(versions: Mapping[int, tuple[int, int]]) -> list[str]:
    """Name the calls that static membership needs and a broker of these versions lacks."""
    return [
        f"{name} {version}"
        for name, key, version in _NEEDED
        if versions.get(key, (0, -1))[1] < version
    ]


class _HeartbeatResponse(Response):  # type: ignore[misc]  # the client has no types
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = HeartbeatResponse_v1.SCHEMA


class _HeartbeatStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", _TEXT),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
    )


class NamedHeartbeat(Request[_HeartbeatStruct]):  # type: ignore[misc]
    """A heartbeat with the instance id."""

    API_KEY = 12

    def __init__(self, plain: HeartbeatRequest, instance: str) -> None:
        self._values = (plain._group, plain._generation_id, plain._member_id, instance)  # noqa: SLF001

    def build(self, request_struct_class: type[_HeartbeatStruct]) -> _HeartbeatStruct:
        """Put it together."""
        return request_struct_class(*self._values)


class _OffsetCommitResponse(Response):  # type: ignore[misc]
    API_KEY = 8
    API_VERSION = 7
    SCHEMA = OffsetCommitResponse_v3.SCHEMA


class _OffsetCommitStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 8
    API_VERSION = 7
    RESPONSE_TYPE = _OffsetCommitResponse
    SCHEMA = Schema(
        ("group", _TEXT),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        (
            "topics",
            Array(
                ("topic", _TEXT),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", _TEXT),
                    ),
                ),
            ),
        ),
    )


class NamedOffsetCommit(Request[_OffsetCommitStruct]):  # type: ignore[misc]
    """A commit with the instance id."""

    API_KEY = 8

    def __init__(self, plain: OffsetCommitRequest, instance: str) -> None:
        member = (plain._consumer_group, plain._consumer_group_generation_id, plain._consumer_id)  # noqa: SLF001
        topics = [
            (topic, [(number, at, _NO_LEADER_EPOCH, text) for number, at, text in partitions])
            for topic, partitions in plain._topics  # noqa: SLF001
        ]
        self._values = (*member, instance, topics)

    def build(self, request_struct_class: type[_OffsetCommitStruct]) -> _OffsetCommitStruct:
        """Put it together."""
        return request_struct_class(*self._values)


class _LeaveGroupResponse(Response):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", _TEXT), ("group_instance_id", _TEXT), ("error_code", Int16)),
        ),
    )


class _LeaveGroupStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = _LeaveGroupResponse
    SCHEMA = Schema(
        ("group", _TEXT),
        ("members", Array(("member_id", _TEXT), ("group_instance_id", _TEXT))),
    )


class NamedLeaveGroup(Request[_LeaveGroupStruct]):  # type: ignore[misc]
    """Give a seat back.

    It names the member id too: one that leaves late must not throw out who has its name by now.
    """

    API_KEY = 13

    def __init__(self, group: str, member_id: str, instance: str) -> None:
        self._values = (group, [(member_id, instance)])

    def build(self, request_struct_class: type[_LeaveGroupStruct]) -> _LeaveGroupStruct:
        """Put it together."""
        return request_struct_class(*self._values)


def named(request: Any, instance: str) -> Any:
    """Give a request of aiokafka the instance id, where it lacks it."""
    if isinstance(request, HeartbeatRequest):
        return NamedHeartbeat(request, instance)
    if isinstance(request, OffsetCommitRequest):
        return NamedOffsetCommit(request, instance)
    return request


def is_fenced(response: Any) -> bool:
    """Tell whether a broker says that another process has this instance id now."""
    return FENCED_INSTANCE_ID in _errors(response)


def _errors(response: Any) -> Iterator[int]:
    yield getattr(response, "error_code", 0)
    if isinstance(response, _LeaveGroupResponse):
        yield from (code for _, _, code in response.members or ())
    if isinstance(response, _OffsetCommitResponse):
        yield from (code for _, partitions in response.topics for _, code in partitions)
