"""The one place that names topics, keys, consumer groups and topic settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .domain import EVENT_TYPE_PATTERN
from .errors import ConfigError
from .registry import AgentDefined, AgentTopic

DAY_MS = 86_400_000
AGENT_PARTITIONS = 8
#: Small segments, compacted early: all of a partition is read before its steps go on. Tombstones
#: say that work has ended, and stay for a day, for whoever takes a partition over.
CHECKPOINT_SETTINGS = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": str(DAY_MS // 24),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": str(DAY_MS),
}
PREFIX_PATTERN = re.compile(r"^[A-Za-z0-9._-]{0,100}$")


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it has to be: name, partitions, settings."""

    name: str
    partitions: int
    settings: dict[str, str] = field(default_factory=dict)
    description: str = ""
    like: str | None = None  # has to have as many partitions as this topic, whatever it says


@dataclass(frozen=True)
class Topics:
    """Names under one prefix; two installations on one Kafka differ in it."""

    prefix: str = "starlings."

    def __post_init__(self) -> None:
        """Refuse a prefix that Kafka would refuse later, in worse words."""
        if not PREFIX_PATTERN.match(self.prefix):
            raise ConfigError(
                f"topic prefix {self.prefix!r} has characters that Kafka forbids; "
                "set STARLINGS_TOPIC_PREFIX to letters, digits, '.', '_' or '-'"
            )

    @property
    def requests(self) -> str:
        """Requests to plan and run, keyed by run id."""
        return f"{self.prefix}requests"

    @property
    def events(self) -> str:
        """Every fact of every run, keyed by run id: the source of truth."""
        return f"{self.prefix}events"

    @property
    def agents(self) -> str:
        """Registry of agents and their instances, compacted."""
        return f"{self.prefix}agents"

    @property
    def control(self) -> str:
        """Words that every running instance must hear."""
        return f"{self.prefix}control"

    @property
    def dead_letters(self) -> str:
        """Messages that could not be handled, untouched."""
        return f"{self.prefix}dead-letters"

    def steps(self, agent: str, variant: str | None = None) -> str:
        """Work of one agent, or of one variant of it, keyed by `run/step`."""
        return f"{self.prefix}steps.{_served(agent, variant)}"

    def checkpoints(self, agent: str, variant: str | None = None) -> str:
        """What an agent must remember across a crash, compacted, co-partitioned with its steps."""
        return f"{self.prefix}checkpoints.{_served(agent, variant)}"

    def agent_of(self, topic: str) -> str | None:
        """Read an agent's name out of its steps topic, with its variant; None for other topics."""
        head = f"{self.prefix}steps."
        return topic[len(head) :] if topic.startswith(head) else None

    def facts(self, event_type: str) -> str:
        """Domain events of one type, keyed by correlation id.

        Raises:
            ConfigError: it is no type of an event.
        """
        if not re.match(EVENT_TYPE_PATTERN, event_type):
            raise ConfigError(
                f"{event_type!r} is no event type: it begins with a lower-case letter and goes on "
                "with lower-case letters, digits or '_', as in ticket_created"
            )
        return f"{self.prefix}facts.{event_type}"

    def event_type_of(self, topic: str) -> str | None:
        """Read an event type out of its topic; None for other topics."""
        head = f"{self.prefix}facts."
        return topic[len(head) :] if topic.startswith(head) else None

    @property
    def planner_group(self) -> str:
        """Consumer group of the planner."""
        return f"{self.prefix}planner"

    @property
    def coordinator_group(self) -> str:
        """Consumer group of the coordinator."""
        return f"{self.prefix}coordinator"

    def agent_group(self, agent: str, variant: str | None = None) -> str:
        """Consumer group of one agent, or of one variant of it."""
        return f"{self.prefix}agent.{_served(agent, variant)}"

    def event_group(self, agent: str, event_type: str) -> str:
        """Consumer group in which one agent hears of events of one type."""
        return f"{self.agent_group(agent)}.on.{event_type}"

    def topic_of_group(self, group_id: str) -> str | None:
        """Name the topic that a consumer group reads; None for a group that is none of ours."""
        name = group_id.removeprefix(self.prefix)
        if not group_id.startswith(self.prefix):
            return None
        if name in {"planner", "coordinator"}:
            return self.requests if name == "planner" else self.events
        kind, _, served = name.partition(".")
        agent, _, event_type = served.partition(".on.")
        if kind == "shadow" and "." in served:
            return self.steps(served.partition(".")[0])
        if kind != "agent" or not served:
            return None
        return f"{self.prefix}facts.{event_type}" if event_type else self.steps(agent)

    def shadow(self, agent: str, name: str) -> str:
        """Name the topic and the group of a shadow: a candidate that real work goes through too."""
        return f"{self.prefix}shadow.{agent}.{name}"

    def shadow_spec(self, agent: str, name: str) -> TopicSpec:
        """Topic of what a shadow's candidate gave; nothing else reads it, and it does not last."""
        return TopicSpec(
            self.shadow(agent, name),
            1,
            {"cleanup.policy": "delete", "retention.ms": str(3 * DAY_MS)},
            f"what the candidate {name} of the agent {agent} gave for work that was done before",
        )

    def core_specs(self, *, partitions: int = 4) -> list[TopicSpec]:
        """Topics that every installation needs."""
        delete = {"cleanup.policy": "delete"}
        return [
            TopicSpec(
                self.requests,
                partitions,
                {**delete, "retention.ms": str(7 * DAY_MS)},
                "requests to plan and run",
            ),
            TopicSpec(
                self.events,
                partitions,
                {
                    **delete,
                    "retention.ms": str(30 * DAY_MS),
                    "message.timestamp.type": "LogAppendTime",
                },
                "every fact of every run",
            ),
            TopicSpec(
                self.agents,
                1,
                {
                    "cleanup.policy": "compact",
                    "segment.ms": str(DAY_MS),
                    "message.timestamp.type": "LogAppendTime",
                },
                "registry of agents",
            ),
            TopicSpec(
                self.control,
                1,
                {**delete, "retention.ms": str(DAY_MS // 24)},
                "what running instances must hear",
            ),
            TopicSpec(
                self.dead_letters,
                1,
                {**delete, "retention.ms": str(90 * DAY_MS)},
                "messages that could not be handled",
            ),
        ]

    def agent_specs(
        self, agent: str, variant: str | None = None, *, partitions: int = AGENT_PARTITIONS
    ) -> list[TopicSpec]:
        """Topics of one agent, or of one variant of it."""
        return [
            TopicSpec(
                self.steps(agent, variant),
                partitions,
                {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)},
                f"work for the agent {_served(agent, variant)}",
            ),
            TopicSpec(
                self.checkpoints(agent, variant),
                partitions,
                CHECKPOINT_SETTINGS,
                f"what the agent {_served(agent, variant)} remembers of its work",
                like=self.steps(agent, variant),
            ),
        ]

    def event_specs(
        self, event_type: str, *, partitions: int = AGENT_PARTITIONS
    ) -> list[TopicSpec]:
        """Topics of domain events of one type."""
        return [
            TopicSpec(
                self.facts(event_type),
                partitions,
                {
                    "cleanup.policy": "delete",
                    "retention.ms": str(7 * DAY_MS),
                    # anybody may produce here, and repeats are known by the time of their records
                    "message.timestamp.type": "LogAppendTime",
                },
                f"domain events of the type {event_type}",
            ),
        ]

    def own_spec(self, topic: AgentTopic, *, partitions: int = AGENT_PARTITIONS) -> TopicSpec:
        """Topic that an agent needs for itself."""
        policy = "compact" if topic.compacted else "delete"
        settings = {"cleanup.policy": policy}
        return TopicSpec(f"{self.prefix}{topic.name}", partitions, settings, topic.description)

    def specs_of(
        self, agents: Iterable[AgentDefined], *, partitions: int = AGENT_PARTITIONS
    ) -> list[TopicSpec]:
        """Topics of agents: of their steps, the events that they hear of and emit, their own."""
        specs: dict[str, TopicSpec] = {}
        for agent in agents:
            own = self.agent_specs(agent.agent, partitions=partitions) if agent.takes_steps else []
            for event_type in (*agent.listens, *agent.emits):
                own += self.event_specs(event_type, partitions=partitions)
            own += [self.own_spec(topic, partitions=partitions) for topic in agent.topics]
            specs |= {spec.name: spec for spec in own}
        return list(specs.values())


def _served(agent: str, variant: str | None) -> str:
    return f"{agent}.{variant}" if variant else agent


def run_key(run_id: str) -> bytes:
    """Partition key of everything about a run."""
    return run_id.encode()


def step_key(run_id: str, step_id: str) -> bytes:
    """Partition key of one step's work: repeats and retries lie in the same partition."""
    return f"{run_id}/{step_id}".encode()


def agent_key(agent: str, instance: str | None = None) -> bytes:
    """Key of an agent's definition, or of one of its instances."""
    return (f"{agent}/{instance}" if instance else agent).encode()


def cooldown_key(agent: str) -> bytes:
    """Key of an agent's cooldown, the same for all its variants."""
    return f"{agent}/cooldown".encode()


def origin_key(topic: str, partition: int, offset: int) -> bytes:
    """Key of a dead letter: where the message lay."""
    return f"{topic}/{partition}/{offset}".encode()
