"""An agent at work on Kafka: its own topic, its own consumer group, any number of instances.

What a step's life here is made of, in this order: the work is taken from `steps.<agent>`, refused
if the run has been stopped, done, its result published on `events` and acknowledged, and only then
does its offset count as done. A crash in between repeats the step under the same ids, and a repeat
of its result is dropped by whoever reads it. A result that Kafka does not take is kept, and
published when it does (`telling`). Compensations come by the same topic and live the same
life; `undoing` tells what holds between them and the steps. Of a job or sensor only the beginning
is work for the consumer; `holding` tells how it goes on. `step_started` is said only of steps that
take `STARTED_AFTER_S` or more, so that short steps cost one fact.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import ConsumerRecord

from starlings.kafka.codec import Received
from starlings.kafka.dead_letters import bury
from starlings.kafka.follow import Follower
from starlings.kafka.parallel import (
    Cancellation,
    ConsumerSettings,
    ParallelConsumer,
    cancellation,
    tried_before,
)
from starlings.messages import (
    AgentAlive,
    CompensationDone,
    CompensationReady,
    ConfigError,
    InvariantBroken,
    Origin,
    StarlingsError,
    StepDone,
    StepProgress,
    StepReady,
    StepStarted,
    StopRequested,
    TransientError,
    attempt_id,
    error_info,
    run_key,
    undo_id,
)
from starlings.service import KafkaPorts, log_context
from starlings.telemetry import child_traceparent

from .agent import Agent
from .checkpoints import CheckpointStore
from .claims import Claims
from .execute import ModelPort, cancelled, execute
from .once import remembering
from .own_claims import ClaimSettings
from .pace import Pace
from .presence import BEAT_EVERY_S, registered
from .settled import Settled
from .stops import Stops
from .telling import tell_end
from .tracing import attempt_span, note_end
from .undoing import Undoing
from .waiting import WaitingAgent
from .waiting_steps import WaitingSteps

log = structlog.get_logger(__name__)

STARTED_AFTER_S = 0.05
READ_CONTROL_WITHIN_S = 60.0


class AgentRuntime:
    """One instance of one agent."""

    def __init__(
        self,
        agent: Agent,
        ports: KafkaPorts,
        *,
        instance: str,
        model: ModelPort | None = None,
        concurrency: int | None = None,
        claims: ClaimSettings | None = None,
        variant: str | None = None,
    ) -> None:
        self.agent = agent
        self.variant = variant
        self._ports = ports
        self._instance = instance
        self._model = model
        self._stops = Stops()
        self._working: set[Origin] = set()
        self._saying: set[asyncio.Task[None]] = set()
        self._signs = 0
        self._started_at = datetime.now(UTC)
        topic = ports.topics.steps(agent.name, variant)
        store = CheckpointStore(ports, ports.topics.checkpoints(agent.name, variant))
        self.claims = Claims(store, topic=topic, instance=instance, settings=claims)
        self.consumer = ParallelConsumer(
            ports.connection,
            ports.codec,
            topic=topic,
            group_id=ports.topics.agent_group(agent.name, variant),
            concurrency=concurrency or agent.concurrency,
            handler=self._handle_traced if ports.tracer.on else self._handle,
            on_undecodable=self._bury,
            on_poison=self._bury,
            default=StepReady,
            settings=ConsumerSettings(seat=ports.seat),
            custody=self.claims,
        )
        self.pace = Pace(agent.name, ports, self.consumer, instance=instance, limits=agent.limits)
        self._waiting: WaitingSteps | None = None
        if isinstance(agent, WaitingAgent):
            self._waiting = WaitingSteps(agent, ports, self.claims, self._stops, instance=instance)
        self._undoing = Undoing(
            agent,
            self.consumer,
            instance=instance,
            model=model,
            end_waiting=self._waiting.end_before_undoing if self._waiting else None,
        )
        self._settled = Settled(ports.connection, ports.topics.events, self.consumer.inheritance)

    def not_ready(self) -> str | None:
        """Say why this instance takes no steps yet; None where it does."""
        return None if self.consumer.ready else "no partition assigned, or still reading back"

    async def run(self, stop: asyncio.Event, grace_s: float) -> None:
        """Work until told to stop; enter the registry meanwhile, and leave it at the end."""
        # a variant serves under the definition of the usual instances, which plans are made by
        definition = self.agent.definition() if self.variant is None else None
        present = registered(definition, self._ports, self._alive, hurry=self.pace.hurry)
        claims = self.claims.kept()
        waiting = self._waiting.looked_after() if self._waiting else nullcontext()
        async with self._following_control(), self.pace.kept(), present, claims, waiting:
            log.info(
                "agent at work",
                agent=self.agent.name,
                topic=self.consumer.topic,
                group=self.consumer.group_id,
                concurrency=self.consumer.concurrency,
            )
            await self.consumer.run(stop, grace_s)

    # -- one step ------------------------------------------------------------------------------

    async def _handle_traced(self, received: Received) -> None:
        with attempt_span(self._ports.tracer, received, self.consumer.group_id) as span:
            done = await self._handle(received, span.traceparent)
            waits = self._waiting is not None and self._waiting.holds(received)
            note_end(span, done, waits=waits)

    async def _handle(
        self, received: Received, trace: str = ""
    ) -> StepDone | CompensationDone | None:
        work = received.message
        if not isinstance(work, StepReady | CompensationReady):
            raise InvariantBroken(f"{work.NAME} does not belong on {self.consumer.topic}")
        trace = trace or child_traceparent(received.envelope.traceparent)
        with (
            log_context(run_id=work.run_id, step_id=work.step_id, traceparent=trace),
            remembering(lambda: self.claims.calls(received)),
        ):
            if self._settled.concerns(received) and await self._settled.knows(received):
                return None
            done: StepDone | CompensationDone | None
            if isinstance(work, StepReady):
                done = await self._work(work, received, trace)
            else:
                done = await self._undo(work, received)
            if done is None:
                return None  # it waits: its end will be told when it comes
            error = await self.pace.judge(f"{work.run_id}/{work.step_id}", done.error)
            if error is not done.error:
                done = done.model_copy(update={"error": error})
            try:
                await self._say(done, received, trace)
            except StarlingsError:  # it is kept: what has been done is not done again
                await tell_end(lambda end: self._say(end, received, trace), done)
            return done

    async def _undo(self, ready: CompensationReady, received: Received) -> CompensationDone:
        if self._stops.covers(ready):
            return self._undoing.stopped(ready, "stopped before it was started")
        self._working.add(received.origin)
        try:
            replaying = received.envelope.replay is not None
            return await self._undoing.undo(ready, replaying=replaying)
        finally:
            self._working.discard(received.origin)

    async def _work(self, ready: StepReady, received: Received, trace: str) -> StepDone | None:
        if self._waiting is not None and self._waiting.holds(received):
            return None  # a repeat: what it asks for has been begun, and is looked after
        if self._stops.covers(ready):
            begun = tried_before() or self.consumer.inheritance(received.origin) is not None
            return self._cancelled(ready, "stopped before it was started", begun=begun)
        if self._undoing.forbids(ready, received.origin):
            why = "it has been compensated already, so it is not done any more"
            return self._cancelled(ready, why, begun=False, code="compensated")
        loop = asyncio.get_running_loop()
        long = loop.call_later(STARTED_AFTER_S, self._is_long, ready, received, trace)
        self._working.add(received.origin)
        try:
            self._undoing.begins(ready, received.origin)
            try:
                return await self._do(ready, received, trace)
            finally:
                self._undoing.ends(ready)
        except asyncio.CancelledError:
            if cancellation() is not Cancellation.REQUESTED:
                raise  # handed back, or somebody else's now: no word about it
            return self._cancelled(ready, "stopped while it ran", begun=True)
        finally:
            self._working.discard(received.origin)
            long.cancel()

    async def _do(self, ready: StepReady, received: Received, trace: str) -> StepDone | None:
        if self._waiting is not None:
            return await self._waiting.begin(ready, received, trace)
        return await execute(
            self.agent,
            ready,
            model=self._model,
            instance=self._instance,
            heartbeat=lambda progress: self._progress(ready, progress, received, trace),
            replaying=received.envelope.replay is not None,
        )

    def _cancelled(
        self, ready: StepReady, why: str, *, begun: bool, code: str = "cancelled"
    ) -> StepDone:
        instance = self._instance
        return cancelled(self.agent, ready, why, instance=instance, begun=begun, code=code)

    def _is_long(self, ready: StepReady, received: Received, trace: str) -> None:
        fact = StepStarted(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=self.agent.name,
            variant=ready.variant,
            instance=self._instance,
        )
        saying = asyncio.create_task(self._say(fact, received, trace))
        self._saying.add(saying)
        saying.add_done_callback(self._has_said)

    def _has_said(self, saying: asyncio.Task[None]) -> None:
        self._saying.discard(saying)
        if not saying.cancelled() and (error := saying.exception()) is not None:
            log.warning("start of a step not published", error=str(error))

    async def _progress(
        self, ready: StepReady, progress: Any, received: Received, trace: str
    ) -> None:
        fact = StepProgress(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=self.agent.name,
            progress=progress,
        )
        self._signs += 1  # each sign of life is a fact of its own
        try:
            await self._say(fact, received, trace, suffix=f"/{self._instance}/{self._signs}")
        except (TransientError, ConfigError) as error:  # no reason for the step to fail
            log.warning("a sign of life is not published", error=str(error))

    async def _say(
        self,
        fact: StepStarted | StepProgress | StepDone | CompensationDone,
        cause: Received,
        trace: str,
        *,
        suffix: str = "",
    ) -> None:
        await self._ports.publisher.publish(
            self._ports.topics.events,
            run_key(fact.run_id),
            fact,
            id=_id_of(fact) + suffix,
            subject=fact.run_id,
            traceparent=trace,
            causation_id=cause.envelope.id,
            replay=cause.envelope.replay,
        )

    async def _bury(self, record: ConsumerRecord, error: Exception) -> None:
        await bury(
            self._ports.publisher,
            record,
            error_info(error),
            topics=self._ports.topics,
            group=self.consumer.group_id,
        )

    # -- control and registry ------------------------------------------------------------------

    @asynccontextmanager
    async def _following_control(self) -> AsyncGenerator[None]:
        """Read the whole of `control` first, so that no stopped step is started; then follow it.

        Who hears of no stops must not work on: what ends the following ends the block, too.
        """
        ports = self._ports
        follower = Follower(ports.connection, ports.codec, ports.topics.control, from_start=True)
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow(follower))
                await asyncio.wait_for(follower.caught_up.wait(), READ_CONTROL_WITHIN_S)
                yield
                following.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _follow(self, follower: Follower) -> None:
        async for received in follower:
            stop = received.message if isinstance(received, Received) else None
            if isinstance(stop, StopRequested):
                self._stops.add(stop)
                stopped = self.consumer.cancel_where(self._is_stopped)
                stopped += self._waiting.stop(stop) if self._waiting is not None else 0
                if stopped:
                    log.info("steps stopped", run_id=stop.run_id, steps=stopped)

    def _is_stopped(self, received: Received) -> bool:
        work = received.message
        return (
            isinstance(work, StepReady | CompensationReady)
            and received.origin in self._working  # else its result is on its way already
            and self._stops.covers(work)
        )

    def _alive(self) -> AgentAlive:
        alive = AgentAlive(
            agent=self.agent.name,
            variant=self.variant,
            instance=self._instance,
            concurrency=self.consumer.concurrency,
            running=self.consumer.running,
            started_at=self._started_at,
            interval_s=BEAT_EVERY_S,
        )
        return self.pace.told(alive)


def _id_of(fact: StepStarted | StepProgress | StepDone | CompensationDone) -> str:
    if isinstance(fact, CompensationDone):
        return undo_id(fact.run_id, fact.step_id, fact.attempt, fact.number, fact.NAME)
    return attempt_id(fact.run_id, fact.step_id, fact.attempt, fact.NAME)
