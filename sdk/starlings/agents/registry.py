"""The registry of agents on Kafka: entering oneself, and seeing who is there.

*Known* and *alive* are two things: a definition stays while its agent is scaled to zero, an
instance is alive as long as its heartbeats are seen. Whether they are seen is judged on the
reader's own monotonic clock, never by comparing the clocks of two machines; only what a reader
finds when it begins is judged by the age of the record. Time in which Kafka did not answer the
reader does not count: an outage silences everybody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from starlings.messages import AgentAlive, AgentCooldown, AgentDefined

from .cooldown import Cooldown

MISSED_BEATS = 3


class Registry:
    """A view of the `agents` topic."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        hearing: Callable[[], float] | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._hearing = hearing or monotonic
        self._wall = wall
        self._definitions: dict[str, AgentDefined] = {}
        self._cooldowns: dict[str, Cooldown] = {}
        self._instances: dict[tuple[str, str], tuple[AgentAlive, float]] = {}

    def define(self, definition: AgentDefined) -> None:
        """Note what an agent is."""
        self._definitions[definition.agent] = definition

    def beat(self, alive: AgentAlive, *, sent_ms: int | None = None) -> None:
        """Note a heartbeat; `sent_ms` where it was found lying there, not seen arriving."""
        age_s = max(self._wall() - sent_ms / 1000, 0.0) if sent_ms is not None else 0.0
        self._instances[alive.agent, alive.instance] = (alive, self._hearing() - age_s)

    def cool(self, said: AgentCooldown, *, sent_ms: int | None = None) -> None:
        """Note a cooldown; `sent_ms` where it was found lying there, not seen arriving."""
        age_s = self._wall() - sent_ms / 1000 if sent_ms is not None else 0.0
        cooldown = self._cooldowns.setdefault(said.agent, Cooldown(monotonic=self._monotonic))
        cooldown.hear(said, age_s=age_s)

    def cooldown(self, agent: str) -> Cooldown | None:
        """Say for how long an agent starts nothing, and why; None where it does not cool down."""
        found = self._cooldowns.get(agent)
        return found if found is not None and found.remaining_s > 0 else None

    def forget(self, key: str) -> None:
        """Note a tombstone: `agent/instance` has left, or `agent` is no more."""
        agent, _, instance = key.partition("/")
        if instance:
            self._instances.pop((agent, instance), None)
        else:
            self._definitions.pop(agent, None)

    @property
    def agents(self) -> Mapping[str, AgentDefined]:
        """Every agent that is known, alive or not, by name."""
        return self._definitions

    def instances(self) -> list[AgentAlive]:
        """List the instances whose heartbeats are seen."""
        now = self._hearing()
        return [
            alive
            for alive, seen in self._instances.values()
            if now - seen <= alive.interval_s * MISSED_BEATS
        ]

    def gone(self, after_s: float) -> list[AgentAlive]:
        """List the instances that ended without a word, and have not been seen for this long."""
        now = self._hearing()
        return [alive for alive, seen in self._instances.values() if now - seen > after_s]

    def alive(self) -> set[str]:
        """Name the agents with at least one usual instance alive; those of variants come beside."""
        return {instance.agent for instance in self.instances() if instance.variant is None}
