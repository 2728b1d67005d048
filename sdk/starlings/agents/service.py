"""Agents as a service: one process that runs one agent (or a few) on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypedDict

from pydantic import Field

from starlings.choreography.retries import USUAL
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.parallel import ParallelConsumer
from starlings.messages import HOP_LIMIT, AgentDefined, ConfigError, Topics, TopicSpec
from starlings.messages.base import VariantName
from starlings.service import (
    KafkaPorts,
    Metric,
    ServiceContext,
    ServiceSettings,
    kafka_ports,
    load_settings,
    run_service,
    show_consumer,
)

from .agent import Agent
from .alongside import alongside
from .listening import EventRuntime
from .model_port import ModelPort
from .models import AgentModels, import_models
from .own_claims import LEASE_S, ClaimSettings
from .pace import Pace
from .runtime import AgentRuntime
from .waiting import WaitingAgent

NAMED = 3  # agents of a process that its log lines and clients are named after, at most


class AgentSettings(ServiceSettings):
    """What can be set beside the settings that every service has."""

    concurrency: int | None = Field(
        default=None, ge=1, le=100_000, description="steps at once, else what the agent says"
    )
    claim_lease_s: float = Field(
        default=LEASE_S,
        ge=1,
        le=3_600,
        description="seconds from 1 to 3600 without a word until an instance at work on a step"
        " is taken for dead",
    )
    variant: VariantName | None = Field(
        default=None,
        description="lower-case letters, digits, '_' and '-': serve as this variant of the agent,"
        " with a topic and a group of its own",
    )
    ensure_topics: bool = Field(
        default=False, description="true: create the agent's topics where they are missing"
    )
    scales_from_zero: bool | None = Field(
        default=None,
        description="true: something starts instances when there is work, so that plans may use"
        " the agent while none is alive; else what the agent says",
    )
    event_hop_limit: int = Field(
        default=HOP_LIMIT,
        ge=1,
        le=100_000,
        description="an event that so many reactions lie before is not reacted to any more",
    )

    @property
    def served_variant(self) -> str | None:
        """The variant; None for the usual instances, whose name among variants is `default`."""
        return None if self.variant == USUAL else self.variant


class _Given(TypedDict):
    instance: str
    concurrency: int | None


def run_agents(agents: Sequence[Agent], settings: type[AgentSettings] = AgentSettings) -> int:
    """Run agents in this process until it is told to stop; give the exit code."""
    names = [agent.name for agent in agents]
    name = "agent-" + "-".join(names) if len(names) <= NAMED else f"agents-{len(names)}"

    if any(_asks(agent) for agent in agents):
        with suppress(ImportError):  # what is missing is told where a model is opened
            import_models()

    async def main(ctx: ServiceContext[AgentSettings]) -> None:
        await serve(ctx, agents, name=name)

    return run_service(name, main, settings)


async def serve(ctx: ServiceContext[AgentSettings], agents: Sequence[Agent], *, name: str) -> None:
    """Connect, and run each agent in its own consumer group until told to stop."""
    topics = ctx.settings.topics
    _say_what_scales(agents, from_zero=ctx.settings.scales_from_zero)
    definitions = [agent.definition() for agent in agents]
    variant = ctx.settings.served_variant
    own = _topics_of(topics, definitions, variant)
    if ctx.settings.ensure_topics:
        connection = Connection(load_settings(KafkaSettings), client_id=f"starlings-{name}")
        await connection.connect()
        await ensure_topics(connection, own)
    needed = [*topics.core_specs(partitions=ctx.settings.partitions), *own]
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(
            kafka_ports(ctx, name, needed, agents=definitions, variant=variant)
        )
        models = await stack.enter_async_context(AgentModels())
        await stack.enter_async_context(alongside(agents))
        await _run(ctx, agents, ports, _models_of(agents, models))


def _say_what_scales(agents: Sequence[Agent], *, from_zero: bool | None) -> None:
    """Let whoever deploys agents overrule what they say of scaling from zero.

    Raises:
        ConfigError: an agent has jobs or sensors, whose waiting work leaves no lag.
    """
    for agent in agents:
        if from_zero and isinstance(agent, WaitingAgent):
            raise ConfigError(
                f"STARLINGS_SCALES_FROM_ZERO=true: agent {agent.name!r} has jobs or sensors, which"
                " leave no lag while they wait, so one instance has to stay; unset it"
            )
        if from_zero is not None:
            agent.scales_from_zero = from_zero


def _topics_of(
    topics: Topics, definitions: Sequence[AgentDefined], variant: str | None
) -> list[TopicSpec]:
    """Say which topics are the agents' own; variants take steps, and leave events to the usual.

    Raises:
        ConfigError: an agent takes no steps, so it has no variants.
    """
    if variant is None:
        return topics.specs_of(definitions)
    for each in definitions:
        if not each.takes_steps:
            raise ConfigError(
                f"agent {each.agent!r} takes no steps, so it cannot serve as the variant "
                f"{variant!r} (STARLINGS_VARIANT): start it without one"
            )
    return [spec for each in definitions for spec in topics.agent_specs(each.agent, variant)]


def _models_of(agents: Sequence[Agent], models: AgentModels) -> dict[str, ModelPort]:
    """Give each agent its model; what is surely needed is opened now, so that errors show."""
    return {
        agent.name: models.opened(agent) if _asks(agent) else models.of(agent) for agent in agents
    }


async def _run(
    ctx: ServiceContext[AgentSettings],
    agents: Sequence[Agent],
    ports: KafkaPorts,
    models: Mapping[str, ModelPort],
) -> None:
    runtimes = [r for agent in agents for r in _runtimes(ctx, agent, ports, models[agent.name])]
    ctx.health.ready_when(
        lambda: next((why for r in runtimes if (why := r.not_ready()) is not None), None)
    )
    for runtime in runtimes:
        _show(ctx, runtime)
    async with asyncio.TaskGroup() as group:
        for runtime in runtimes:
            group.create_task(runtime.run(ctx.stop, ctx.settings.grace_s))


def _runtimes(
    ctx: ServiceContext[AgentSettings], agent: Agent, ports: KafkaPorts, model: ModelPort
) -> list[AgentRuntime | EventRuntime]:
    """One for the steps of an agent, one for the events that it listens to."""
    given: _Given = {"instance": ctx.instance, "concurrency": ctx.settings.concurrency}
    variant = ctx.settings.served_variant
    runtimes: list[AgentRuntime | EventRuntime] = []
    if agent.takes_steps:
        claims = ClaimSettings(lease_s=ctx.settings.claim_lease_s)
        runtimes.append(
            AgentRuntime(agent, ports, model=model, claims=claims, variant=variant, **given)
        )
    if agent.reactions and variant is None:
        hops, alone = ctx.settings.event_hop_limit, not agent.takes_steps
        runtimes.append(
            EventRuntime(agent, ports, model=model, hop_limit=hops, registers=alone, **given)
        )
    return runtimes


def _show(ctx: ServiceContext[AgentSettings], runtime: AgentRuntime | EventRuntime) -> None:
    agent = runtime.agent.name
    if isinstance(runtime, AgentRuntime):
        _show_consumer(ctx, agent, runtime.consumer, runtime.pace)
        return
    for event_type, consumer in runtime.consumers.items():
        _show_consumer(ctx, f"{agent}.on.{event_type}", consumer, runtime.paces[event_type])


def _show_consumer(
    ctx: ServiceContext[AgentSettings], name: str, consumer: ParallelConsumer, pace: Pace
) -> None:
    show_consumer(ctx, name, consumer, agent=name)
    counters, pull = consumer.counters, ctx.metrics.pull
    pull(Metric.DEAD_LETTERS, lambda: counters.poisoned + counters.undecodable, agent=name)
    pull(Metric.COOLDOWN, lambda: pace.cooling_down_s, agent=name)


def _asks(agent: Agent) -> bool:
    """Say whether an agent is sure to ask a model: what is wrong then shows at the start."""
    return bool(agent.tools or agent.model or agent.strategy)
