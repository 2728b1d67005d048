"""The whole system on one machine: a broker, the topics, and one process per service."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlings.agents import Agent
from starlings.agents.installed import offered_agents
from starlings.agents.loading import load_agents
from starlings.broker import ResolvedBroker
from starlings.kafka.admin import ensure_topics
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.llm.endpoint import configured_endpoint
from starlings.llm.settings import LlmSettings
from starlings.messages import ConfigError
from starlings.service import ServiceSettings, load_settings

from .supervise import Service, Sink, Supervisor, supervising

PLANNER, COORDINATOR = "planner", "coordinator"
USUAL = ("math", "sensor", "string", "weather")  # need no setting, and no library of their own
TOGETHER = "agents"


@dataclass(frozen=True)
class AgentProgram:
    """An agent, the name by which a process loads it, and that process's name."""

    spec: str
    agent: Agent
    process: str


@dataclass(frozen=True)
class LeftOut:
    """An agent that is installed, but cannot be run, and why."""

    name: str
    why: str


def programs(specs: Sequence[str]) -> list[AgentProgram]:
    """List the agents that `module:agent` names stand for, each name a process of its own."""
    listed = []
    for spec in specs:
        agents = load_agents(spec)
        process = f"agent {agents[0].name}"
        listed += [AgentProgram(spec, agent, process) for agent in agents]
    return listed


def installed_programs(names: Sequence[str] | None) -> tuple[list[AgentProgram], list[LeftOut]]:
    """List installed agents of the given names, or all: in one process, and what is left out.

    Most of them wait most of the time, and an interpreter for each would fill a laptop.
    """
    found: dict[str, AgentProgram] = {}
    left_out = []
    for offer in offered_agents():
        if names is not None and offer.name not in names:
            continue
        try:
            why = offer.missing
            if offer.name in found:
                why = f"{offer.package} offers an agent of a name that is taken: uninstall one"
            if why is None:
                found[offer.name] = AgentProgram(offer.spec, offer.load(), TOGETHER)
        except ConfigError as error:
            why = str(error)
        if why is not None:
            left_out.append(LeftOut(offer.name, why))
    return list(found.values()), left_out


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
    """List the processes that run agents."""
    specs: dict[str, list[str]] = {}
    for program in agents:
        known = specs.setdefault(program.process, [])
        if program.spec not in known:
            known.append(program.spec)
    return [Service.agents(name, each) for name, each in specs.items()]
