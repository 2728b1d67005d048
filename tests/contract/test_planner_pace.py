"""Planners on a real Kafka beside a model's provider that asks for quiet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from support.model_server import ModelServer, model_server, refusal
from support.sites import Site
from support.waiting import wait_until

from starlings.agents.registry import Registry
from starlings.agents.registry_view import registry_view
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Received
from starlings.kafka.follow import Follower
from starlings.kafka.publisher import Publisher
from starlings.llm import LlmSettings, ModelClient
from starlings.messages import (
    AgentAlive,
    AgentDefined,
    PlanCreated,
    RunRequested,
    TransientError,
    agent_key,
    run_key,
)
from starlings.planning import Planner, Replanner
from starlings.service import KafkaPorts
from starlings_planner.model_pace import NAME, ModelPace
from starlings_planner.service import PlannerService
from starlings_planner.settings import PlannerSettings

pytestmark = pytest.mark.kafka

STEP = {"id": "s1", "agent": "math", "task": "add", "depends_on": []}
GOOD = json.dumps({"steps": [STEP]})
QUIET_S = 8


@dataclass(eq=False)
class Stage:
    """Planners in this process, and what they have planned."""

    site: Site
    ports: KafkaPorts
    registry: Registry
    planner: Planner
    replanner: Replanner
    stack: AsyncExitStack
    planned: dict[str, float] = field(default_factory=dict)  # run id → when

    async def start(self, name: str) -> PlannerService:
        settings = PlannerSettings(registry_wait_s=0)
        service = PlannerService(
            self.ports,
            self.registry,
            self.planner,
            replanner=self.replanner,
            settings=settings,
            instance=name,
        )
        stop = asyncio.Event()
        life = asyncio.create_task(service.consumer.run(stop, 1.0))
        self.stack.push_async_callback(asyncio.gather, life, return_exceptions=True)
        self.stack.callback(stop.set)
        await wait_until(lambda: service.consumer.ready, timeout_s=60, message=f"{name} is ready")
        return service

    async def ask(self, run_id: str, **more) -> None:
        topic = self.site.topics.requests
        request = RunRequested(run_id=run_id, request="add", **more)
        await self.ports.publisher.publish(
            topic, run_key(run_id), request, id=run_id, subject=run_id
        )

    async def watch(self) -> None:
        events = self.site.topics.events
        follower = Follower(self.site.connection, self.site.codec, events, from_start=True)
        async for fact in follower:
            if isinstance(fact, Received) and isinstance(fact.message, PlanCreated):
                self.planned[fact.message.run_id] = asyncio.get_running_loop().time()

    async def plan_of(self, run_id: str) -> float:
        await wait_until(
            lambda: run_id in self.planned, timeout_s=30, message=f"{run_id} is planned"
        )
        return self.planned[run_id]


@pytest.fixture
def model():
    with model_server() as server:
        yield server


@pytest.fixture
async def stage(plain_site, model: ModelServer) -> AsyncIterator[Stage]:
    site = plain_site
    await ensure_topics(site.connection, site.topics.core_specs(partitions=1), replication=1)
    async with AsyncExitStack() as stack:
        publisher = Publisher(site.connection, site.codec)
        await publisher.start()
        stack.push_async_callback(publisher.stop)
        for entry, key in (
            (AgentDefined(agent="math", description="Adds"), agent_key("math")),
            (AgentAlive(agent="math", instance="i", interval_s=600), agent_key("math", "i")),
        ):
            await publisher.publish(site.topics.agents, key, entry, id="x", subject="math")
        registry = await stack.enter_async_context(
            registry_view(site.connection, site.codec, site.topics)
        )
        settings = LlmSettings(
            openai_base_url=model.base_url, openai_api_key="sk-test", model="m", retries=0
        )
        client = await stack.enter_async_context(ModelClient(settings))
        ports = KafkaPorts(site.connection, site.codec, publisher, site.topics)
        stage = Stage(site, ports, registry, Planner(client), Replanner(client), stack)
        watching = asyncio.create_task(stage.watch())
        stack.push_async_callback(asyncio.gather, watching, return_exceptions=True)
        stack.callback(watching.cancel)
        yield stage


async def test_every_planner_waits_when_one_was_asked_for_quiet_and_given_plans_go_on(stage, model):
    model.replies(refusal(429, retry_after=str(QUIET_S)), GOOD, GOOD)
    await stage.start("one")
    await stage.ask("r1")
    await wait_until(lambda: stage.registry.cooldown(NAME), message="the others are told")
    asked = len(model.requests)
    assert ModelPace(stage.ports, stage.registry, instance="two").remaining_s > 0  # heard of only
    await stage.ask("r2")
    await stage.ask("r3", plan=[STEP])

    given = await stage.plan_of("r3")
    assert len(model.requests) == asked  # nobody has asked meanwhile
    for run_id in ("r1", "r2"):
        assert await stage.plan_of(run_id) > given
    assert stage.registry.cooldown(NAME) is None
    assert len(model.requests) == asked + 2


async def test_a_plan_that_was_paid_for_is_published_later_and_not_made_again(
    stage, model, monkeypatch
):
    model.replies(GOOD)
    publish, refused = stage.ports.publisher.publish, []

    async def refuse_at_first(topic, key, message, **more):
        if isinstance(message, PlanCreated) and len(refused) < 3:
            refused.append(message)
            raise TransientError("away", code="kafka_unavailable")
        return await publish(topic, key, message, **more)

    monkeypatch.setattr(stage.ports.publisher, "publish", refuse_at_first)
    await stage.start("one")
    await stage.ask("r1")

    await stage.plan_of("r1")
    assert (len(model.requests), len(refused)) == (1, 3)
