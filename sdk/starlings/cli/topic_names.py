"""Which topics an installation has and needs, as far as this command line can know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from starlings.agents.registry_view import registry_view
from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import AgentDefined, ConfigError, Topics, TopicSpec
from starlings.messages.topics import AGENT_PARTITIONS
from starlings.service import ServiceSettings, load_settings

from .reach import connection, patience_s

PARTITIONS_LIMIT = 10_000


@dataclass(frozen=True)
class Wanted:
    """Topics that have to be there, and the Kafka on which."""

    connection: Connection
    topics: Topics
    specs: list[TopicSpec]


@dataclass(frozen=True)
class TopicEntry:
    """A topic that is there."""

    name: str
    partitions: int
    records: int
    description: str

    def document(self) -> dict[str, Any]:
        """Write it for `--json`."""
        return {
            "topic": self.name,
            "partitions": self.partitions,
            "records": self.records,
            "description": self.description,
        }


async def wanted_topics(
    names: Sequence[str],
    *,
    events: Sequence[str] = (),
    builtin: bool = False,
    partitions: int | None = None,
) -> Wanted:
    """Collect the topics of the core, of agents in the registry, and of those that are named.

    A name may say how many partitions its topics have: `math=16`, `math.large=2`.

    Raises:
        ConfigError: Kafka cannot be reached, or an agent's name could be none.
    """
    settings = load_settings(ServiceSettings)
    kafka = connection()
    await kafka.connect(patience_s())
    agents = await _registered(kafka, settings)
    if builtin:
        from starlings.agents.loading import builtin_agents  # noqa: PLC0415 - slow to load

        agents += [agent.definition() for agent in builtin_agents()]
    named = [_named(name, "--agent") for name in names]
    told = [_named(event, "--fact") for event in events]
    topics = settings.topics
    specs = topics.core_specs(partitions=partitions or settings.partitions)
    each = partitions or AGENT_PARTITIONS
    own = topics.specs_of(agents, partitions=each)
    own += [s for name, count in named for s in _of_named(topics, name, count or each)]
    own += [s for event, count in told for s in topics.event_specs(event, partitions=count or each)]
    specs += sorted({spec.name: spec for spec in own}.values(), key=lambda spec: spec.name)
    return Wanted(kafka, topics, specs)


def _named(text: str, option: str) -> tuple[str, int | None]:
    name, says, count = text.partition("=")
    if not says:
        return name, None
    if not (count.isdecimal() and 1 <= int(count) <= PARTITIONS_LIMIT):
        raise ConfigError(f"{option} {text}: after '=' goes a number of partitions, 16 for example")
    return name, int(count)


def _of_named(topics: Topics, name: str, partitions: int) -> list[TopicSpec]:
    agent, _, variant = name.partition(".")
    if variant:
        return topics.agent_specs(agent, variant, partitions=partitions)
    return topics.specs_of([definition_of(agent)], partitions=partitions)


def definition_of(name: str) -> AgentDefined:
    """Describe an agent that is named: an installed one by itself, which may need more topics."""
    from starlings.agents.installed import offered_agents  # noqa: PLC0415 - slow to load

    for offer in offered_agents(name):
        with suppress(ConfigError):  # what it needs is installed elsewhere
            return offer.load().definition()
    return AgentDefined(agent=name)


async def _registered(kafka: Connection, settings: ServiceSettings) -> list[AgentDefined]:
    topics = settings.topics
    if topics.agents not in await kafka.topic_names():
        return []
    codec = Codec(source="starlings/cli", blobs=BlobStore(settings.blobs_url))
    async with registry_view(kafka, codec, topics) as registry:
        return list(registry.agents.values())


async def list_topics(wanted: Wanted) -> list[TopicEntry]:
    """List the topics under the prefix, with the number of records that lie there."""
    prefix = wanted.topics.prefix
    names = sorted(n for n in await wanted.connection.topic_names() if n.startswith(prefix))
    found = await wanted.connection.find_topics(names)
    places = [TopicPartition(name, p) for name in names for p in found[name].partitions]
    async with wanted.connection.reading() as consumer:
        ends = await consumer.end_offsets(places) if places else {}
        begins = await consumer.beginning_offsets(places) if places else {}
    described = {spec.name: spec.description for spec in wanted.specs}
    return [
        TopicEntry(
            name,
            len(found[name].partitions),
            sum(ends[place] - begins[place] for place in places if place.topic == name),
            described.get(name) or _work(wanted.topics, name),
        )
        for name in names
    ]


def _work(topics: Topics, name: str) -> str:
    event_type = topics.event_type_of(name)
    if event_type:
        return f"domain events of the type {event_type}, which no registered agent listens to"
    agent = topics.agent_of(name)
    return f"work for the agent {agent}, which is not registered" if agent else ""
