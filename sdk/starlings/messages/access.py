"""What each program may do on a Kafka with ACLs, and nothing more.

One list for people (`starlings topics acls`, docs/operations.md), for `starlings doctor
--deployment`, and for the tests, which run the demo with exactly these rights.

- Every program compares the topics with how they have to be before it starts: DESCRIBE and
  DESCRIBE_CONFIGS on all of the prefix. DESCRIBE comes with READ and WRITE of the same topic.
- Idempotent producers need no right of their own (brokers from 3.0 on, KIP-679).
- The coordinator writes to `requests` too: it asks the planner to plan a run anew.
- An agent that makes its topics itself (`STARLINGS_ENSURE_TOPICS`) needs what `topics ensure` needs
  as well; where there are ACLs, let an operator do that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .registry import AgentDefined
from .topics import Topics


class Operation(StrEnum):
    """What may be done; named as in Kafka's ACLs."""

    READ = "READ"
    WRITE = "WRITE"
    CREATE = "CREATE"
    DELETE = "DELETE"
    ALTER = "ALTER"
    DESCRIBE = "DESCRIBE"
    DESCRIBE_CONFIGS = "DESCRIBE_CONFIGS"
    ALTER_CONFIGS = "ALTER_CONFIGS"


class Resource(StrEnum):
    """With what it may be done."""

    TOPIC = "topic"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on one resource, or on all whose names begin so."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False

    def covers(self, resource: Resource, name: str) -> bool:
        """Tell whether it says something about a resource."""
        if resource is not self.resource:
            return False
        return name.startswith(self.name) if self.prefixed else name == self.name


_R, _W = (Operation.READ,), (Operation.WRITE,)
_RW = (*_R, *_W)


def rights_of_planner(topics: Topics) -> list[Right]:
    """List what the planner may do."""
    return [
        *_look(topics),
        _group(topics.planner_group),
        _topic(topics.requests, _R),
        _topic(topics.events, _W),
        _topic(topics.agents, _RW),
        _topic(topics.dead_letters, _RW),
    ]


def rights_of_coordinator(topics: Topics) -> list[Right]:
    """List what the coordinator may do."""
    return [
        *_look(topics),
        _group(topics.coordinator_group),
        _topic(topics.events, _RW),
        _topic(topics.requests, _W),
        _topic(topics.control, _W),
        _topic(topics.dead_letters, _W),
        Right(Resource.TOPIC, topics.steps(""), _W, prefixed=True),
    ]


def rights_of_agent(topics: Topics, agent: AgentDefined, variant: str | None = None) -> list[Right]:
    """List what an agent, or one variant of it, may do."""
    rights = [
        *_look(topics),
        _topic(topics.events, _RW),
        _topic(topics.agents, _RW),
        _topic(topics.control, _R),
        _topic(topics.dead_letters, _W),
    ]
    if agent.takes_steps:
        rights += [
            _group(topics.agent_group(agent.agent, variant)),
            _topic(topics.steps(agent.agent, variant), _R),
            _topic(topics.checkpoints(agent.agent, variant), _RW),
        ]
    if variant is None:
        rights += [_group(topics.event_group(agent.agent, event)) for event in agent.listens]
        rights += [_topic(topics.facts(event), _R) for event in agent.listens]
    rights += [_topic(topics.facts(event), _W) for event in agent.emits]
    rights += [_topic(topics.own_spec(own).name, _RW) for own in agent.topics]
    return rights


def rights_of_client(topics: Topics) -> list[Right]:
    """List what a program may do that asks for runs, watches them, and tells them things."""
    return [
        *_look(topics),
        _topic(topics.requests, _RW),
        _topic(topics.events, _RW),
        _topic(topics.agents, _R),
    ]


def rights_of_watcher(topics: Topics) -> list[Right]:
    """List what `starlings doctor --deployment` needs, which changes nothing."""
    describe = (Operation.DESCRIBE,)
    return [
        *_look(topics),
        Right(Resource.TOPIC, topics.prefix, _R, prefixed=True),
        Right(Resource.GROUP, topics.prefix, describe, prefixed=True),
    ]


def rights_of_operator(topics: Topics) -> list[Right]:
    """List what `starlings topics`, `group` and `dlq` need: to make, to mend, to move."""
    on_topics = (
        Operation.CREATE,
        Operation.ALTER,
        Operation.ALTER_CONFIGS,
        Operation.DESCRIBE_CONFIGS,
        *_RW,
    )
    return [
        Right(Resource.TOPIC, topics.prefix, on_topics, prefixed=True),
        Right(Resource.GROUP, topics.prefix, _R, prefixed=True),
    ]


def lacking(needed: Iterable[Right], may: Iterable[Right]) -> list[Right]:
    """Say what of the needed rights somebody lacks who has those of `may`, name by name."""
    had = list(may)
    missing = []
    for need in needed:
        have = {
            o for right in had if right.covers(need.resource, need.name) for o in right.operations
        }
        less = tuple(o for o in need.operations if o not in have)
        if less:
            missing.append(Right(need.resource, need.name, less, need.prefixed))
    return missing


def _look(topics: Topics) -> list[Right]:
    operations = (Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
    return [Right(Resource.TOPIC, topics.prefix, operations, prefixed=True)]


def _topic(name: str, operations: tuple[Operation, ...]) -> Right:
    return Right(Resource.TOPIC, name, operations)


def _group(name: str) -> Right:
    return Right(Resource.GROUP, name, _R)
