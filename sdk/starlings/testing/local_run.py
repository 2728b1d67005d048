"""A run in this process: the same core, the same agents, a list instead of Kafka.

    result = await LocalRun(plan, agents=[flights])

What the coordinator decides and what agents do is the very code that runs on Kafka; only the log is
a list. Nothing survives the process. With `skip_waits`, back-offs and timeouts take no time while
no step is at work: the clock jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any

from pydantic import JsonValue

from starlings.agents import Agent
from starlings.agents.compensate import (
    execute_compensation,
    not_undone,
    patience_s,
    still_running,
    stopped,
)
from starlings.agents.execute import ModelPort, cancelled, execute
from starlings.agents.models import AgentModels
from starlings.choreography import (
    Change,
    Decision,
    DecisionKind,
    Ignored,
    Run,
    Timer,
    begin,
    check_plan,
    confirmation_for,
    fold,
    message_for,
    parse_plan,
    refusal,
    reopen,
    snapshot,
)
from starlings.form_answers import MemoryAnswers, answers_in_memory
from starlings.messages import (
    AmendmentRejected,
    CommandRefused,
    CompensationReady,
    ErrorInfo,
    Message,
    Plan,
    PlanAmended,
    PlanCreated,
    Problem,
    ReplanReady,
    RetryRequested,
    RunDone,
    RunOptions,
    SignalReceived,
    StepProgress,
    StepReady,
    StepStarted,
    TimerFired,
)
from starlings.planning import with_retries

from .replanners import Replans, answer, no_planner

STARTED_AFTER_S = 0.05
INSTANCE = "local"
_HARDLY_S = 0.001


class LocalRun:
    """One run in this process; await it for its `RunDone`.

    Args:
        plan: a plan, or whatever `parse_plan` reads (also the short form with indices).
        agents: the agents that do its steps.
        options: the run's choices, as in a request.
        model: asked by all agents that ask one; `AgentModels()` gives each its own.
        on_fact: called with every fact as it is folded, in the order of the log.
        skip_waits: let the clock jump to the next timer while no step is at work, and wait hardly
            at all between two looks at a job or sensor.
        replanner: answers how the run shall go on, in the planner's place: with an amendment, or
            by raising `PlanInvalid` with the reasons why there is none.

    Raises:
        PlanInvalid: at construction, with every problem.
    """

    def __init__(
        self,
        plan: Plan | Mapping[str, Any] | list[Any],
        agents: Collection[Agent],
        *,
        options: RunOptions | None = None,
        request: str = "",
        tags: Mapping[str, str] | None = None,
        run_id: str = "local",
        model: ModelPort | AgentModels | None = None,
        on_fact: Callable[[Message], None] = lambda _fact: None,
        skip_waits: bool = False,
        replanner: Replans | None = None,
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        definitions = {agent.name: agent.definition() for agent in agents}
        data = plan.model_dump(mode="json") if isinstance(plan, Plan) else plan
        options = options or RunOptions()
        plan = parse_plan(data, agents=definitions, options=options)
        of_run = options.retry if "retry" in options.model_fields_set else None
        self.plan = with_retries(plan, definitions, of_run=of_run)
        self.facts: list[Message] = []
        self._created = PlanCreated(
            run_id=run_id, request=request, plan=self.plan, options=options, tags=dict(tags or {})
        )
        self._model = model
        self._on_fact = on_fact
        self._skip_waits = skip_waits
        self._skipped_ms = 0
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._working: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._undoing: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._timers: dict[Timer, asyncio.TimerHandle | None] = {}
        self._ended: Run | None = None
        self._replanner = replanner or no_planner
        self._asking: set[asyncio.Task[None]] = set()

    def __await__(self) -> Generator[Any, None, RunDone]:
        """Run the plan to its end."""
        return self.run().__await__()

    def tell(self, fact: Message) -> None:
        """Put a command into the run, such as `CancelRequested`, `ApprovalGiven`, `SignalReceived`.

        A signal named `answer_name(step_id)` answers the form of a step of the agent `human`. What
        comes too early or too late is ignored, as on Kafka; `on_fact` may call this.
        """
        self._inbox.put_nowait(fact)

    async def run(self) -> RunDone:
        """Run the plan to its end and return it."""
        try:
            self._record(self._created)
            run, change = begin(self._created, offset=0, at_ms=self._now_ms())
            return await self._see_through(run, change)
        finally:
            await self._clean_up()

    async def retry(
        self,
        step_id: str | None = None,
        *,
        input: JsonValue = None,  # noqa: A002 - as the step's field is called
        compensation: bool = False,
    ) -> RunDone:
        """Go on with the run after a bad end, to its next end: as `RunHandle.retry` does on Kafka.

        Args:
            step_id: of which step; None: every one that is not done (or not undone).
            input: for that step, instead of its own.
            compensation: undo again what could not be undone, instead of doing again.

        Raises:
            CommandRefused: the run cannot go on as it stands; it says why.
        """
        if input is not None and (step_id is None or compensation):
            raise CommandRefused("an input needs the step that it is for, to be done again")
        if self._ended is None:
            raise CommandRefused("the run has not ended")
        why = refusal(self._ended, step_id=step_id, compensation=compensation)
        if why is not None:
            raise CommandRefused(f"the run cannot go on: {why}")
        fact = _retry_requested(self._ended, step_id, given=input, compensation=compensation)
        reopened = reopen(fact, at_ms=self._now_ms())
        if isinstance(reopened, Ignored):
            raise CommandRefused(f"the run cannot go on: {reopened.reason}")
        self._ended = None
        try:
            self._record(fact)
            return await self._see_through(*reopened)
        finally:
            await self._clean_up()

    async def _see_through(self, run: Run, change: Change) -> RunDone:
        with answers_in_memory() as answers:
            return await self._fold_on(run, change, answers)

    async def _fold_on(self, run: Run, change: Change, answers: MemoryAnswers) -> RunDone:
        self._take_up(run, change)
        while True:
            fact = await self._next(run)
            self._record(fact)
            if isinstance(fact, SignalReceived):
                answers.hear(fact)
            outcome = fold(run, fact, at_ms=self._now_ms())
            if isinstance(fact, RunDone):
                self._ended = run
                return fact
            if not isinstance(outcome, Ignored):
                self._take_up(run, outcome)

    def _record(self, fact: Message) -> None:
        self.facts.append(fact)
        self._on_fact(fact)

    def _now_ms(self) -> int:
        return int(time.time() * 1000) + self._skipped_ms

    async def _next(self, run: Run) -> Message:
        if self._skip_waits and self._inbox.empty() and self._is_idle and run.timers:
            return self._jump(run)
        return await self._inbox.get()

    @property
    def _is_idle(self) -> bool:
        return not self._working and not self._undoing and not self._asking

    def _jump(self, run: Run) -> TimerFired:
        """Let the clock jump to the next timer."""
        key, due_ms = min(run.timers.items(), key=lambda item: item[1])
        self._skipped_ms += max(due_ms - self._now_ms(), 0)
        return _fired(run, Timer(key, due_ms))

    # -- what follows from a fact --------------------------------------------------------------

    def _take_up(self, run: Run, change: Change) -> None:
        for decision in change.decisions:
            self._carry_out(run, decision)
        if not self._skip_waits:
            loop = asyncio.get_running_loop()
            for timer in change.timers:
                wait_s = max(timer.due_ms - self._now_ms(), 0) / 1000
                self._timers[timer] = loop.call_later(
                    wait_s, self._inbox.put_nowait, _fired(run, timer)
                )

    def _carry_out(self, run: Run, decision: Decision) -> None:
        if decision.kind is DecisionKind.STOP:
            self._stop(decision)
            return
        message = message_for(run, decision)
        if decision.kind is DecisionKind.RELEASE and isinstance(message, StepReady):
            working = asyncio.create_task(self._work(message))
            self._working[message.step_id, message.attempt] = working
        elif decision.kind is DecisionKind.UNDO and isinstance(message, CompensationReady):
            undoing = asyncio.create_task(self._undo(message))
            self._undoing[message.step_id, message.attempt] = undoing
        elif isinstance(message, ReplanReady):
            asking = asyncio.create_task(self._plan_anew(message))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        if isinstance(message, PlanAmended) and (problems := self._unfit(message)):
            message = AmendmentRejected(
                run_id=run.run_id,
                step_id=message.step_id,
                attempt=message.attempt,
                replan=message.replan,
                problems=problems,
            )
        confirmation = confirmation_for(run, decision)
        self._inbox.put_nowait(confirmation.message if confirmation else message)

    async def _plan_anew(self, ready: ReplanReady) -> None:
        self._inbox.put_nowait(await answer(self._replanner, ready))

    def _unfit(self, fact: PlanAmended) -> list[Problem]:
        """List what is wrong with the agents and tools of an amendment."""
        steps = [*fact.amendment.add, *fact.amendment.replace]
        names = {name for step in steps for name in (step.id, *step.depends_on)}
        definitions = {agent.name: agent.definition() for agent in self._agents.values()}
        return check_plan(Plan(steps=steps), agents=definitions, known=names)

    def _stop(self, decision: Decision) -> None:
        at_work = self._undoing if decision.number else self._working
        for attempt, task in at_work.items():
            if decision.step_id is None or attempt == (decision.step_id, decision.attempt):
                task.cancel()

    async def _undo(self, ready: CompensationReady) -> None:
        agent = self._agents.get(ready.agent)
        try:
            if agent is None:  # a step may record whatever it likes
                done = not_undone(ready, _unknown(ready), instance=INSTANCE)
            elif await self._has_ended(ready):
                model = self._model_of(agent)
                done = await execute_compensation(agent, ready, model=model, instance=INSTANCE)
            else:
                done = still_running(ready, instance=INSTANCE)
        except asyncio.CancelledError:
            done = stopped(ready, "stopped while it ran", instance=INSTANCE)
        if self._undoing.get((ready.step_id, ready.attempt)) is asyncio.current_task():
            self._undoing.pop((ready.step_id, ready.attempt))
        self._inbox.put_nowait(done)

    async def _has_ended(self, ready: CompensationReady) -> bool:
        """Wait for the attempt that is undone, where it is still at work."""
        working = self._working.get((ready.step_id, ready.attempt))
        if working is None:
            return True
        working.cancel()
        ended, _ = await asyncio.wait({working}, timeout=patience_s(ready))
        return bool(ended)

    async def _work(self, ready: StepReady) -> None:
        loop = asyncio.get_running_loop()
        started = StepStarted(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=ready.agent,
            instance=INSTANCE,
        )
        long = loop.call_later(STARTED_AFTER_S, self._inbox.put_nowait, started)
        try:
            done = await execute(
                self._agents[ready.agent],
                ready,
                model=self._model_of(self._agents[ready.agent]),
                instance=INSTANCE,
                heartbeat=lambda progress: self._progress(ready, progress),
                pause=_hardly_wait if self._skip_waits else asyncio.sleep,
            )
        except asyncio.CancelledError:
            agent, why = self._agents[ready.agent], "stopped while it ran"
            done = cancelled(agent, ready, why, instance=INSTANCE, begun=True)
        finally:
            long.cancel()
        # before its result is read: whoever reads it must not think that it is still at work
        self._working.pop((ready.step_id, ready.attempt))
        self._inbox.put_nowait(done)

    def _model_of(self, agent: Agent) -> ModelPort | None:
        return self._model.of(agent) if isinstance(self._model, AgentModels) else self._model

    async def _progress(self, ready: StepReady, progress: Any) -> None:
        self._inbox.put_nowait(
            StepProgress(
                run_id=ready.run_id,
                step_id=ready.step_id,
                attempt=ready.attempt,
                agent=ready.agent,
                progress=progress,
            )
        )

    async def _clean_up(self) -> None:
        for handle in self._timers.values():
            if handle is not None:
                handle.cancel()
        left = [*self._working.values(), *self._undoing.values(), *self._asking]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for known in (self._timers, self._working, self._undoing, self._asking):
            known.clear()
        self._inbox = asyncio.Queue()  # what those had to say comes after the end


async def _hardly_wait(_seconds: float) -> None:
    await asyncio.sleep(_HARDLY_S)


def _fired(run: Run, timer: Timer) -> TimerFired:
    return TimerFired(
        run_id=run.run_id,
        kind=timer.key.kind,
        step_id=timer.key.step_id,
        attempt=timer.key.attempt,
        due_ms=timer.due_ms,
    )


def _unknown(ready: CompensationReady) -> ErrorInfo:
    message = f"there is no agent {ready.agent!r}, which the compensation names"
    return ErrorInfo(code="unknown_agent", message=message)


def _retry_requested(
    run: Run, step_id: str | None, *, given: JsonValue, compensation: bool
) -> RetryRequested:
    return RetryRequested(
        run_id=run.run_id,
        step_id=step_id,
        compensation=compensation,
        input=given,
        generation=run.generation + 1,
        plan_offset=run.plan_offset,
        state=snapshot.save(run),
    )
