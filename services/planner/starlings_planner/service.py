"""The planner's way of one request: read it, plan it, publish the outcome, await its ack.

A question how a run that is under way shall go on (`replan_ready`) goes the same way, and is
answered by `amendment_proposed`.

The same run id twice is the same run: a repeat within the consumer's memory is dropped here, and a
second plan is ignored by the coordinator, for the first one in the log counts. What a model or the
network does wrong for a moment is tried again; what is wrong for good becomes `plan_rejected`, with
every reason, so that nobody waits for a run that will not come.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog
from aiokafka import ConsumerRecord

from starlings.agents.registry import Registry
from starlings.agents.registry_view import registry_view
from starlings.kafka.codec import Received
from starlings.kafka.dead_letters import bury
from starlings.kafka.letters import Letters
from starlings.kafka.letters_view import keep_letters
from starlings.kafka.parallel import ConsumerSettings, ParallelConsumer, Retry
from starlings.kafka.until_taken import until_taken
from starlings.llm import LlmSettings, ModelClient
from starlings.messages import (
    AgentDefined,
    AmendmentProposed,
    InvariantBroken,
    PlanCreated,
    PlanRejected,
    Problem,
    ReplanReady,
    RunRequested,
    StarlingsError,
    TransientError,
    agent_key,
    error_info,
    header,
    message_id,
    replan_id,
    run_id_at,
    run_key,
)
from starlings.messages.base import ID_PATTERN
from starlings.planning import Planner, Replanner
from starlings.service import (
    KafkaPorts,
    Metric,
    ServiceContext,
    kafka_ports,
    load_settings,
    log_context,
    show_consumer,
)
from starlings.telemetry import Span, child_traceparent

from .model_pace import ModelPace
from .settings import PlannerSettings
from .tracing import note_amendment, note_plan, planning_span

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.2
FORGET_AFTER_S = 3_600.0
TIDY_EVERY_S = 600.0
_Told = TypeVar("_Told")
_RUN_ID = re.compile(ID_PATTERN)


async def serve(ctx: ServiceContext[PlannerSettings]) -> None:
    """Run the planner as a service."""
    topics = ctx.settings.topics
    needed = topics.core_specs(partitions=ctx.settings.partitions)
    async with (
        kafka_ports(ctx, "planner", needed) as ports,
        registry_view(ports.connection, ports.codec, topics) as registry,
        ModelClient(load_settings(LlmSettings).for_agent("planner")) as model,
    ):
        planner = Planner(model, routing=ctx.settings.routing)
        service = PlannerService(
            ports,
            registry,
            planner,
            replanner=Replanner(model),
            settings=ctx.settings,
            instance=ctx.instance,
        )
        consumer = service.consumer
        show_consumer(ctx, "requests", consumer)
        ctx.health.ready_when(lambda: None if consumer.ready else "no partition assigned yet")
        ctx.metrics.pull(Metric.DEAD_LETTERS, lambda: service.buried)
        ctx.metrics.pull(Metric.COOLDOWN, lambda: service.pace.remaining_s)
        endpoint = model.endpoint
        name = endpoint.model if endpoint.offline else endpoint.description  # told at length before
        ctx.log.info("planning", topic=topics.requests, model=name)
        letters = Letters()
        ctx.metrics.pull(Metric.OPEN_DEAD_LETTERS, lambda: letters.open)
        aside = (
            asyncio.create_task(service.tidy()),
            asyncio.create_task(_watch_dead_letters(ports, letters)),
        )
        try:
            await consumer.run(ctx.stop, ctx.settings.grace_s)
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)


async def _watch_dead_letters(ports: KafkaPorts, letters: Letters) -> None:
    """Count the open dead letters of the whole installation, for its metrics."""
    try:
        await keep_letters(letters, ports.connection, ports.codec, ports.topics)
    except StarlingsError as error:
        log.warning("open dead letters are not counted", error=str(error))


class PlannerService:
    """One instance of the planner."""

    def __init__(
        self,
        ports: KafkaPorts,
        registry: Registry,
        planner: Planner,
        *,
        replanner: Replanner,
        settings: PlannerSettings,
        instance: str,
    ) -> None:
        self._ports = ports
        self._registry = registry
        self._planner = planner
        self._replanner = replanner
        self._wait_s = settings.registry_wait_s
        self.pace = ModelPace(ports, registry, instance=instance)
        self.buried = 0
        self.consumer = ParallelConsumer(
            ports.connection,
            ports.codec,
            topic=ports.topics.requests,
            group_id=ports.topics.planner_group,
            concurrency=settings.concurrency,
            handler=self._handle,
            on_undecodable=self._reject_unread,
            on_poison=self._reject_unread,
            default=RunRequested,
            retry=Retry(),
            settings=ConsumerSettings(seat=ports.seat),
        )

    async def _handle(self, received: Received) -> None:
        request = received.message
        if isinstance(request, ReplanReady):
            await self._plan_anew(request, received)
            return
        if not isinstance(request, RunRequested):
            raise InvariantBroken(f"{request.NAME} does not belong on {self.consumer.topic}")
        run_id = request.run_id or _run_id_of(received.key, received)
        with (
            self._span("plan", run_id, received) as span,
            log_context(run_id=run_id, traceparent=span.traceparent),
        ):
            agents, alive = await self._agents_for(request.plan)
            outcome = await self._plan(request, run_id, agents, alive)
            note_plan(span, outcome)
            await self._say(outcome, received.envelope.id, span.traceparent)

    def _span(self, name: str, run_id: str, received: Received) -> Span:
        group_id = self.consumer.group_id
        return planning_span(self._ports.tracer, name, run_id, received, group_id)

    async def _plan(
        self, request: RunRequested, run_id: str, agents: dict[str, AgentDefined], alive: set[str]
    ) -> PlanCreated | PlanRejected:
        """Plan a request, at the pace that the model's provider asks for."""
        if request.plan is not None:
            return await self._planner.plan(request, run_id=run_id, agents=agents, alive=alive)
        return await self._asked(
            lambda: self._planner.plan(request, run_id=run_id, agents=agents, alive=alive)
        )

    async def _plan_anew(self, ready: ReplanReady, received: Received) -> None:
        with (
            self._span("replan", ready.run_id, received) as span,
            log_context(run_id=ready.run_id, traceparent=span.traceparent),
        ):
            agents, alive = await self._agents_for(None)
            proposed = await self._asked(
                lambda: self._replanner.replan(ready, agents=agents, alive=alive)
            )
            note_amendment(span, proposed)
            await self._propose(proposed, received.envelope.id, span.traceparent)

    async def _asked(self, ask: Callable[[], Awaitable[_Told]]) -> _Told:
        """Ask the model, at the pace that its provider asks for."""
        await self.pace.turn()
        try:
            told = await ask()
        except TransientError as error:
            if error.cooldown:
                await self.pace.met(error)
            raise
        self.pace.went_well()
        return told

    async def tidy(self) -> None:
        """Take instances out of the registry that were killed: nobody else ever would."""
        while True:
            for instance in self._registry.gone(FORGET_AFTER_S):
                key = agent_key(instance.agent, instance.instance)
                try:
                    await self._ports.publisher.tombstone(self._ports.topics.agents, key)
                except StarlingsError as error:
                    log.warning("registry not tidied", error=str(error))
                    break
            await asyncio.sleep(TIDY_EVERY_S)

    async def _agents_for(self, plan: object) -> tuple[dict[str, AgentDefined], set[str]]:
        """Look who is there; wait a little for agents that are just being started."""
        wanted = _agents_named(plan)
        waited = 0.0
        while waited < self._wait_s:
            alive = self._registry.alive()
            if wanted <= alive if wanted else alive:
                break
            if wanted and not wanted <= alive | self._registry.agents.keys():
                break  # unknown agents are refused at once
            await asyncio.sleep(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
        agents = self._registry.agents
        return {n: a for n, a in agents.items() if a.takes_steps}, self._registry.alive()

    async def _say(self, outcome: PlanCreated | PlanRejected, cause: str, trace: str) -> None:
        publish = partial(
            self._ports.publisher.publish,
            self._ports.topics.events,
            run_key(outcome.run_id),
            outcome,
            id=message_id(outcome.run_id, outcome.NAME),
            subject=outcome.run_id,
            traceparent=trace,
            causation_id=cause,
        )
        await until_taken(publish, what=f"{outcome.NAME} of {outcome.run_id}")  # it has been paid
        if isinstance(outcome, PlanCreated):
            asked = {"model": outcome.model} if outcome.model else {}
            log.info("planned", steps=len(outcome.plan.steps), **asked)
        else:
            log.info("rejected", problems=[str(problem) for problem in outcome.problems[:3]])

    async def _propose(self, proposed: AmendmentProposed, cause: str, trace: str) -> None:
        publish = partial(
            self._ports.publisher.publish,
            self._ports.topics.events,
            run_key(proposed.run_id),
            proposed,
            id=replan_id(proposed.run_id, proposed.number, proposed.NAME),
            subject=proposed.run_id,
            traceparent=trace,
            causation_id=cause,
        )
        await until_taken(publish, what=f"{proposed.NAME} of {proposed.run_id}")
        said = [str(problem) for problem in proposed.problems[:3]]
        log.info("planned anew", number=proposed.number, **({"problems": said} if said else {}))

    async def _reject_unread(self, record: ConsumerRecord, error: Exception) -> None:
        """Bury a request that cannot be planned, and end its run, for somebody may be waiting."""
        self.buried += 1
        info = error_info(error)
        await bury(
            self._ports.publisher,
            record,
            info,
            topics=self._ports.topics,
            group=self.consumer.group_id,
        )
        key = (record.key or b"").decode(errors="replace")
        run_id = key or run_id_at(record.topic, record.partition, record.offset)
        if not _RUN_ID.fullmatch(run_id):
            run_id = run_id_at(record.topic, record.partition, record.offset)
        how = "later" if info.retryable else "corrected"
        problem = Problem(
            code=info.code, message=info.message, remedy=f"send it again, {how}, as a new run"
        )
        if header(record.headers, "ce_type") == ReplanReady.CE_TYPE:
            number = _number_of(header(record.headers, "ce_id") or "")
            none = AmendmentProposed(run_id=run_id, number=number, problems=[problem])
            await self._propose(none, message_id(run_id, ReplanReady.NAME), child_traceparent(None))
            return
        rejected = PlanRejected(run_id=run_id, problems=[problem])
        trace = child_traceparent(None)
        with log_context(run_id=run_id, traceparent=trace):
            await self._say(rejected, message_id(run_id, RunRequested.NAME), trace)


def _number_of(ident: str) -> int:
    """Read out of an id which time a run was to be planned anew; 0, which nobody waits for."""
    number = ident.rpartition(f"/{ReplanReady.NAME}/")[2]
    return int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0


def _run_id_of(key: bytes | None, received: Received) -> str:
    """Take the run id from the record's key, where that is one, else from where it lies."""
    text = (key or b"").decode(errors="replace")
    if _RUN_ID.fullmatch(text):
        return text
    origin = received.origin
    return run_id_at(origin.topic, origin.partition, origin.offset)


def _agents_named(plan: object) -> set[str]:
    steps = plan.get("steps") if isinstance(plan, dict) else plan
    if not isinstance(steps, list):
        return set()
    names = (step.get("agent") for step in steps if isinstance(step, dict))
    return {name for name in names if isinstance(name, str)}
