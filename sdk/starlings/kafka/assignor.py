"""The range assignor, by which members tell their group which version of Starlings they are.

The version travels in the part of a member's subscription that Kafka leaves to the assignor
("user data"; range makes no use of it), so that whoever describes the group sees which versions are
at work, without a message or a topic for it.

Source: Kafka protocol guide, "Consumer protocol"; KIP-54 for user data in the subscription.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

_MARK = b"starlings/"
_LONGEST = 64


@cache
def range_assignor(told: str | None = None) -> type[RangePartitionAssignor]:
    """Make a range assignor that tells this version, or the one that is installed."""
    user_data = _MARK + (told or version("starlings")).encode()

    class VersionTellingAssignor(RangePartitionAssignor):  # type: ignore[misc]  # no types
        """Says which version its member is."""

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
            """Say what a member reads, and its version."""
            return ConsumerProtocolMemberMetadata(cls.version, list(topics), user_data)

    return VersionTellingAssignor


def version_told(member_metadata: bytes | None) -> str | None:
    """Read a member's version out of its subscription; None where it tells none."""
    if not member_metadata:
        return None
    try:
        found = ConsumerProtocolMemberMetadata.decode(member_metadata).user_data or b""
        told = found.removeprefix(_MARK).decode()
    except ValueError:
        return None
    known = found.startswith(_MARK) and told.isprintable() and 0 < len(told) <= _LONGEST
    return told if known else None
