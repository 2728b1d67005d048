"""Steps of a job agent or sensor on Kafka: begun by the consumer's handler, then held.

A step that is begun and does not end at once is said to have started, and its handle kept; then its
record counts as done. What becomes of it later is `Holding`'s, which speaks through the same voice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from pydantic import JsonValue

from starlings.kafka.codec import Received
from starlings.kafka.parallel import Cancellation, cancellation
from starlings.kafka.until_taken import until_taken
from starlings.messages import (
    CompensationReady,
    ErrorInfo,
    StepDone,
    StepProgress,
    StepReady,
    StepStarted,
    StopRequested,
    attempt_id,
    run_key,
)
from starlings.service import KafkaPorts

from .attempt import attempted, deadline_of, limit_of, now_utc
from .call_record import handle_record
from .claims import Claims
from .compensate import patience_s
from .context import StepContext, no_heartbeat, resolved, step_context
from .execute import step_done
from .held import Held, asked_ms_of, moment_of
from .holding import Holding
from .model_port import Spent
from .stops import Stops
from .tracing import tell_wait
from .vigil import begin_or_end, end_surely
from .waiting import Look, WaitingAgent, outcome_of


class WaitingSteps:
    """Begins and holds the steps of one instance of a job agent or sensor."""

    def __init__(
        self,
        agent: WaitingAgent,
        ports: KafkaPorts,
        claims: Claims,
        stops: Stops,
        *,
        instance: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._agent = agent
        self._ports = ports
        self._instance = instance
        self._wall = wall
        self._signs = 0
        self._claims = claims
        self.holding = Holding(agent, claims.store, stops, self, instance=instance, wall=wall)
        claims.on_assigned.append(self.holding.assigned)
        claims.on_opened.append(self.holding.opened)
        claims.store.on_change.append(self.holding.noticed)

    @asynccontextmanager
    async def looked_after(self) -> AsyncGenerator[None]:
        """Look after what waits, for as long as the block lasts."""
        async with self.holding.looked_after():
            yield

    def stop(self, stop: StopRequested) -> int:
        """End what has been told to stop; say how many steps."""
        return self.holding.stop(stop.run_id)

    async def end_before_undoing(self, ready: CompensationReady) -> bool:
        """End the attempt that is to be undone, where it waits; False where that takes too long."""
        step, within_s = (ready.step_id, ready.attempt), patience_s(ready)
        return await self.holding.end(ready.run_id, step, "stopped to be undone", within_s=within_s)

    def holds(self, received: Received) -> bool:
        """Say whether what a record asks for has been begun, and waits."""
        return self.holding.holds(received.origin.partition, self._claims.work_of(received))

    # -- a beginning ---------------------------------------------------------------------------

    async def begin(self, ready: StepReady, received: Received, trace: str) -> StepDone | None:
        """Begin a step; return its end where that has come already, None where it waits.

        Raises:
            asyncio.CancelledError: told to stop, and ended; or handed back.
        """
        work = self._claims.work_of(received)
        began = self._wall()
        asked_ms = asked_ms_of(received.timestamp_ms)
        ctx = step_context(
            ready,
            deadline=deadline_of(ready.timeouts, now_utc()),
            asked_at=None if asked_ms is None else moment_of(asked_ms),
            on_heartbeat=no_heartbeat,
            replaying=received.envelope.replay is not None,
        )
        look, error = await attempted(
            self._begin(ready, ctx), ctx, limit_s=limit_of(ready.timeouts), what="step"
        )
        if look is None or look.ended:
            return await self._end(ready, ctx, look, error, took_s=self._wall() - began)
        held = Held.of(
            ready,
            look.handle,
            began_ms=int(began * 1_000),
            asked_ms=asked_ms,
            traceparent=trace,
            causation_id=received.envelope.id,
            replay=received.envelope.replay,
        )
        keeping = asyncio.ensure_future(self._hold(held, work, received))
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            await keeping  # what has been begun is kept, whatever happens to it then
        return None

    async def _begin(self, ready: StepReady, ctx: StepContext) -> Look:
        ready, ctx = resolved(ready, ctx)
        return await begin_or_end(self._agent, ready, ctx, begun_again=_is_handed_back)

    async def _end(
        self,
        ready: StepReady,
        ctx: StepContext,
        look: Look | None,
        error: ErrorInfo | None,
        *,
        took_s: float,
    ) -> StepDone:
        spent, result = Spent(), None
        if look is not None and look.status is not None:
            result, error = outcome_of(look.status, ctx, f"the {self._agent.kind}")
            spent.add(result.usage)
            if look.unfinished:
                await end_surely(self._agent, look.handle, ctx)
        return step_done(
            self._agent,
            ready,
            result if error is None else None,
            error,
            spent=spent,
            instance=self._instance,
            duration_s=took_s,
            record=handle_record(look.handle) if look is not None else None,
        )

    async def _hold(self, held: Held, work: str, received: Received) -> None:
        started = StepStarted(
            run_id=held.run_id,
            step_id=held.step_id,
            attempt=held.attempt,
            agent=self._agent.name,
            variant=held.variant,
            instance=self._instance,
        )
        # insisted on: whoever begins it anew relies on `create` to find it again
        await until_taken(lambda: self._say(started, held), what=f"start of {work}")
        await until_taken(
            lambda: self._claims.keep_job(received, held.kept()), what=f"handle of {work}"
        )
        self.holding.began(received.origin.partition, work, held)

    # -- the voice -----------------------------------------------------------------------------

    async def done(self, done: StepDone, held: Held | None) -> None:
        """Say that a waiting step has ended."""
        if held is not None and self._ports.tracer.on:
            tell_wait(self._ports.tracer, held, done, now_ms=int(self._wall() * 1_000))
        await self._say(done, held)

    async def progress(self, held: Held, progress: JsonValue) -> None:
        """Say how far a waiting step is."""
        fact = StepProgress(
            run_id=held.run_id,
            step_id=held.step_id,
            attempt=held.attempt,
            agent=self._agent.name,
            progress=progress,
        )
        self._signs += 1  # each sign of life is a fact of its own
        await self._say(fact, held, suffix=f"/{self._instance}/held/{self._signs}")

    async def _say(
        self, fact: StepStarted | StepProgress | StepDone, held: Held | None, *, suffix: str = ""
    ) -> None:
        await self._ports.publisher.publish(
            self._ports.topics.events,
            run_key(fact.run_id),
            fact,
            id=attempt_id(fact.run_id, fact.step_id, fact.attempt, fact.NAME) + suffix,
            subject=fact.run_id,
            traceparent=held.traceparent if held else None,
            causation_id=held.causation_id if held else None,
            replay=held.replay if held else None,
        )


def _is_handed_back() -> bool:
    return cancellation() in {Cancellation.LOST, Cancellation.SHUTDOWN}
