"""The evidence of a system in which nothing went wrong, told without Kafka and processes.

The audit is tested with it: what is true of it must pass, and each fault that is planted in it must
be found.
"""

from __future__ import annotations

from collections import deque

from starlings.choreography import Change, Decision, Ledger, Timer, confirmation_for, message_for
from starlings.messages import (
    CancelRequested,
    Compensation,
    CompensationDone,
    CompensationReady,
    ErrorInfo,
    Message,
    Plan,
    PlanCreated,
    RunRequested,
    StepDone,
    StepOutcome,
    StepReady,
    StopRequested,
    TimerFired,
    TimerKind,
    attempt_id,
    message_id,
    timer_id,
    undo_id,
)
from support.recovery.coordinator import fold_record
from support.recovery.log import Record

from .agent import Work, digest
from .evidence import Evidence, Execution, Row
from .workload import Asked

PID = 77
RETRIES = (TimerKind.RETRY, TimerKind.UNDO_RETRY)


class Told:
    """One partition, one coordinator, one agent: each does at once what it has to."""

    def __init__(self, *asked: Asked) -> None:
        self.evidence = Evidence({each.run_id: each for each in asked})
        self._ledger = Ledger()
        self._now_ms = 1_000
        self._work: deque[StepReady | CompensationReady] = deque()
        self._due: deque[tuple[str, Timer]] = deque()
        for each in asked:
            if each.cancelled:
                cancel = CancelRequested(run_id=each.run_id)
                self.tell(message_id(each.run_id, cancel.NAME), cancel)
            self._ask(each.request)
            self._go_on()

    def _ask(self, request: RunRequested) -> None:
        run_id = request.run_id or ""
        self._put(self.evidence.requests, "requests", message_id(run_id, request.NAME), request)
        plan = PlanCreated(
            run_id=run_id, plan=Plan.model_validate(request.plan), options=request.options()
        )
        self.tell(message_id(run_id, plan.NAME), plan)

    def _go_on(self) -> None:
        while self._work or self._due:
            if self._work:
                self._work_on(self._work.popleft())
            else:
                self._fire(*self._due.popleft())

    def _work_on(self, ready: StepReady | CompensationReady) -> None:
        if isinstance(ready, CompensationReady):
            undone = self._undo(ready)
            names = undone.run_id, undone.step_id, undone.attempt, undone.number, undone.NAME
            self.tell(undo_id(*names), undone)
        else:
            done = self._do(ready)
            self.tell(attempt_id(done.run_id, done.step_id, done.attempt, done.NAME), done)

    def tell(self, ident: str, fact: Message) -> Row:
        """Write a fact to `events`, and do what follows from it."""
        row = self._put(self.evidence.events, "events", ident, fact)
        change = fold_record(self._ledger, Record(row.offset, row.at_ms, ident, fact))
        if isinstance(change, Change):
            for decision in change.decisions:
                self._carry_out(row.run_id, decision)
            waiting = (t for t in change.timers if t.key.kind in RETRIES)
            self._due.extend((row.run_id, timer) for timer in waiting)
        return row

    def _carry_out(self, run_id: str, decision: Decision) -> None:
        run = self._ledger.runs[run_id]
        message, confirmation = message_for(run, decision), confirmation_for(run, decision)
        if isinstance(message, StepReady | CompensationReady):
            self._put(self.evidence.steps, f"steps.{message.agent}", decision.id, message)
            self._work.append(message)
        elif isinstance(message, StopRequested):
            self._put(self.evidence.control, "control", decision.id, message)
        else:
            self.tell(decision.id, message)
        if confirmation is not None:
            self.tell(*confirmation)

    def _do(self, ready: StepReady) -> StepDone:
        told = Work.model_validate(ready.input)
        good = {r.step_id: str(r.output) for r in ready.context if r.error is None}
        bad = {r.step_id for r in ready.context if r.error is not None}
        end, error = "did", None
        if told.fails or ready.attempt <= told.stumbles:
            end = "failed" if told.fails else "stumbled"
            error = ErrorInfo(code="no", message="no", retryable=not told.fails)
        self._execute(ready, end)
        return StepDone(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            agent=ready.agent,
            outcome=StepOutcome.ERROR if error else StepOutcome.OK,
            output=None if error else digest(ready.step_id, good, bad),
            error=error,
            compensation=None if error else Compensation(agent=ready.agent),
        )

    def _undo(self, ready: CompensationReady) -> CompensationDone:
        self._execute(ready, "undid")
        return CompensationDone(
            run_id=ready.run_id,
            step_id=ready.step_id,
            attempt=ready.attempt,
            number=ready.number,
            agent=ready.agent,
            outcome=StepOutcome.OK,
        )

    def _execute(self, ready: StepReady | CompensationReady, end: str) -> None:
        undoes = isinstance(ready, CompensationReady)
        key = f"{ready.run_id}/{ready.step_id}/{ready.attempt}" + "/compensation" * undoes
        began_s, self._now_ms = self._now_ms / 1000, self._now_ms + 10
        self.evidence.executions.append(
            Execution(
                ready.run_id,
                ready.step_id,
                ready.attempt,
                key,
                PID,
                began_s,
                self._now_ms / 1000,
                end,
                undoes,
            )
        )

    def _fire(self, run_id: str, timer: Timer) -> None:
        kind, step_id, attempt = timer.key
        self._now_ms = max(self._now_ms, timer.due_ms)
        fired = TimerFired(
            run_id=run_id, kind=kind, step_id=step_id, attempt=attempt, due_ms=timer.due_ms
        )
        self.tell(timer_id(run_id, kind.value, step_id, attempt, timer.due_ms), fired)

    def _put(self, rows: list[Row], topic: str, ident: str, message: Message) -> Row:
        self._now_ms += 1
        value = message.as_json()
        offset = sum(row.topic == topic for row in rows)
        row = Row(topic, 0, offset, self._now_ms, ident, value, message)
        rows.append(row)
        return row
