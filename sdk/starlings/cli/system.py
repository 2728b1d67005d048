"""The whole system on one machine: a broker, the topics, and one process per service."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points

from starlings.agents import Agent
from starlings.agents.loading import GROUP, load_agents
from starlings.broker import ResolvedBroker, resolve_broker
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.llm.endpoint import configured_endpoint
from starlings.llm.settings import LlmSettings
from starlings.service import ServiceSettings, load_settings

from .supervise import Service, Sink, Supervisor, supervising

PLANNER, COORDINATOR = "planner", "coordinator"


@dataclass(frozen=True)
class AgentProgram:
    """An agent and the name by which a process of its own loads it."""

    spec: str
    agent: Agent

    @property
    def service(self) -> Service:
        """The process that runs it."""
        return Service.agent(self.spec, f"agent {self.agent.name}")


def builtin_programs(names: Sequence[str] | None = None) -> list[AgentProgram]:
    """List the built-in agents, or those of the given names."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    chosen = [entry for entry in found if names is None or entry.name in names]
    return [AgentProgram(entry.value, entry.load()) for entry in chosen]


def programs(specs: Sequence[str]) -> list[AgentProgram]:
    """List the agents that `module:agent` names stand for."""
    listed = []
    for spec in specs:
        agents = load_agents(spec)
        where = spec if len(agents) == 1 else spec.split(":")[0]
        listed += [AgentProgram(where, agent) for agent in agents]
    return listed


def model_description() -> str:
    """Say in a line which model the services will ask."""
    endpoint = configured_endpoint(load_settings(LlmSettings))
    if endpoint is not None:
        return endpoint.description
    return (
        "the offline rules that come along (no language model: they know sums, texts and weather; "
        "set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)"
    )


@asynccontextmanager
async def whole_system(
    agents: Sequence[AgentProgram], broker: ResolvedBroker, sink: Sink
) -> AsyncGenerator[Supervisor]:
    """Have topics and running services over a broker; stop the services at the end."""
    os.environ["KAFKA_BOOTSTRAP"] = broker.bootstrap  # for this process, as for its children
    os.environ.setdefault("STARLINGS_ENSURE_TOPICS", "true")  # those that only an agent knows of
    settings = load_settings(ServiceSettings)
    topics = settings.topics
    connection = Connection(load_settings(KafkaSettings), client_id="starlings-system")
    await connection.connect()
    specs = topics.core_specs(partitions=settings.partitions)
    specs += topics.specs_of(program.agent.definition() for program in agents)
    await ensure_topics(connection, specs)
    services = [
        Service.module(COORDINATOR, "starlings_coordinator"),
        Service.module(PLANNER, "starlings_planner"),
        *unique_services(agents),
    ]
    async with supervising({"STARLINGS_LOG_FORMAT": "pretty"}, sink) as supervisor:
        for service in services:
            await supervisor.start(service)
        await supervisor.ready([service.name for service in services])
        yield supervisor


def unique_services(agents: Sequence[AgentProgram]) -> list[Service]:
    """One process per name: a module with several agents runs them together."""
    by_spec: dict[str, Service] = {}
    for program in agents:
        by_spec.setdefault(program.spec, program.service)
    return list(by_spec.values())


__all__ = [
    "AgentProgram",
    "ResolvedBroker",
    "builtin_programs",
    "model_description",
    "programs",
    "resolve_broker",
    "whole_system",
]
