"""How a process sits in its consumer groups: how long it may be silent, and under which name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Members learn of a rebalance by their heartbeat, and all wait for the last one.
_HEARTBEAT_MS = 500


@dataclass(frozen=True, slots=True)
class Seat:
    """What a group is told of a member.

    `session_timeout_ms`: silence after which the group gives the member's partitions to others.
    `instance`: a name that outlives the process; with one the membership is static.
    `leave_on_stop`: whether a static member gives its seat back when it is stopped.
    """

    session_timeout_ms: int = 6_000
    instance: str | None = None
    leave_on_stop: bool = True

    def options(self) -> dict[str, Any]:
        """Say it as options of a consumer."""
        options: dict[str, Any] = {
            "session_timeout_ms": self.session_timeout_ms,
            "heartbeat_interval_ms": min(_HEARTBEAT_MS, self.session_timeout_ms // 3),
        }
        if self.instance is not None:
            options |= {"group_instance_id": self.instance, "leave_on_stop": self.leave_on_stop}
        return options
