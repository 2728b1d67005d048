"""How every service gets to Kafka: connect, check topics, publish; and how it leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlings.blobs import BlobStore
from starlings.kafka.admin import COMMAND, check_topics
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.kafka.seat import Seat
from starlings.messages import AgentDefined, Topics, TopicSpec
from starlings.telemetry import OFF, Tracer

from .metrics import Metric
from .run import ServiceContext
from .settings import load_settings

CONNECT_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class KafkaPorts:
    """What a service reads and writes with."""

    connection: Connection
    codec: Codec
    publisher: Publisher
    topics: Topics
    seat: Seat = field(default_factory=Seat)
    tracer: Tracer = OFF


@asynccontextmanager
async def kafka_ports(
    ctx: ServiceContext[Any],
    name: str,
    needed: Sequence[TopicSpec],
    *,
    agents: Sequence[AgentDefined] = (),
    variant: str | None = None,
) -> AsyncGenerator[KafkaPorts]:
    """Connect a service to Kafka for as long as the block lasts.

    `agents` are those whose topics are among the needed ones, those of `variant` where it is said.

    Raises:
        ConfigError: where a setting is wrong, or a needed topic is missing or differs.
    """
    settings = ctx.settings
    connection = Connection(load_settings(KafkaSettings), client_id=f"starlings-{name}")
    await connection.connect(wait_s=CONNECT_WAIT_S)
    command = " ".join((COMMAND, *(part for agent in agents for part in _options(agent, variant))))
    await check_topics(connection, needed, command=command)
    codec = Codec(source=f"starlings/{name}/{ctx.instance}", blobs=BlobStore(settings.blobs_url))
    publisher = Publisher(connection, codec)
    await publisher.start()
    ctx.metrics.pull(Metric.PUBLISH_FAILURES, lambda: publisher.failed)
    try:
        yield KafkaPorts(
            connection, codec, publisher, settings.topics, settings.seat, tracer=ctx.tracer
        )
    finally:
        await publisher.stop()


def _options(agent: AgentDefined, variant: str | None) -> list[str]:
    """Say how the command that mends topics is told of an agent that is not in the registry."""
    if variant is not None:
        return [f"--agent {agent.agent}.{variant}"]
    own = [f"--agent {agent.agent}"] if agent.takes_steps else []
    return own + [f"--fact {name}" for name in (*agent.listens, *agent.emits)]
