"""What every check of a deployment is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from starlings.agents.registry import Registry
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import Topics, TopicSpec


@dataclass(frozen=True)
class Looking:
    """What the person who looks wants to know.

    `services`: what this user must be allowed to be (`planner`, `coordinator`, an agent's name).
    `patience`: how long agents without a timeout may say nothing about a step.
    `since`: how far back runs are looked for that could not be undone.
    """

    services: Sequence[str] = ()
    patience: timedelta = timedelta(hours=1)
    since: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class Scene:
    """The installation that is looked at."""

    connection: Connection
    codec: Codec
    topics: Topics
    specs: Sequence[TopicSpec]
    registry: Registry
    looking: Looking = field(default_factory=Looking)

    @property
    def served(self) -> dict[str, tuple[str, str | None]]:
        """The agents and variants that are known, by the name of their group."""
        names: dict[str, tuple[str, str | None]] = {n: (n, None) for n in self.registry.agents}
        for each in self.registry.instances():
            name = f"{each.agent}.{each.variant}" if each.variant else each.agent
            names[name] = (each.agent, each.variant)
        return dict(sorted(names.items()))
