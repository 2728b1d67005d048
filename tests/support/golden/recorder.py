"""Recording a story: facts from outside are told, and the core decides the rest."""

from __future__ import annotations

from typing import Any

from starlings.choreography import (
    CarryPolicy,
    Ledger,
    Recorded,
    confirmation_for,
    message_for,
    retell,
    snapshot,
)
from starlings.messages import (
    CancelRequested,
    CompensationDone,
    Envelope,
    ErrorInfo,
    Message,
    Plan,
    PlanCreated,
    RetryRequested,
    RunOptions,
    Step,
    StepDone,
    StepOutcome,
    TimerFired,
    Usage,
    message_id,
    snapshot_id,
    timer_id,
    undo_id,
)

from .replay import record_of, told

BEGIN_MS = 1_790_000_000_000
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
POLICY = CarryPolicy(carry_after_records=6)


class Recorder:
    """Writes a log: facts as they are told, decisions as they follow."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ledger = Ledger(policy=POLICY)
        self.ledger.finish_recovery()
        self.now_ms = BEGIN_MS

    def tell(self, ident: str, fact: Any) -> None:
        """Append a fact, and after it what the coordinator publishes on account of it."""
        envelope = Envelope(ident, fact.CE_TYPE, "golden", fact.run_id, self.now_ms)
        line = {
            "offset": len(self.lines),
            "timestamp": self.now_ms,
            "headers": {name: value.decode() for name, value in envelope.headers()},
            "value": fact.model_dump(mode="json", exclude_defaults=True),
        }
        self.lines.append(line)
        owed_before = self._owed(fact.run_id)
        line["then"] = told(self.ledger, record_of(line))
        self.now_ms += 7
        self._publish(fact.run_id, owed_before)

    def _owed(self, run_id: str) -> set[str]:
        run = self.ledger.runs.get(run_id)
        return set(run.owed) if run else set()

    def _publish(self, run_id: str, owed_before: set[str]) -> None:
        for ident in sorted(self._owed(run_id) - owed_before):
            run = self.ledger.runs.get(run_id)
            decision = run.owed.get(ident) if run else None
            if run is None or decision is None:
                continue
            confirmation = confirmation_for(run, decision)
            if confirmation is not None:
                self.tell(confirmation.id, confirmation.message)
            else:
                self.tell(decision.id, message_for(run, decision))

    def wait(self, seconds: float) -> None:
        """Let time pass, and the timers fire that fall due in it."""
        until = self.now_ms + int(seconds * 1000)
        while due := self._next_timer(until):
            due_ms, run_id, key = due
            self.now_ms = max(self.now_ms, due_ms)
            fact = TimerFired(
                run_id=run_id,
                kind=key.kind,
                step_id=key.step_id,
                attempt=key.attempt,
                due_ms=due_ms,
            )
            self.tell(timer_id(run_id, key.kind.value, key.step_id, key.attempt, due_ms), fact)
        self.now_ms = max(self.now_ms, until)

    def _next_timer(self, until_ms: int) -> Any:
        running = [
            (due_ms, run.run_id, key)
            for run in self.ledger.runs.values()
            for key, due_ms in run.timers.items()
            if due_ms <= until_ms
        ]
        return min(running, key=str, default=None)

    def carry(self) -> None:
        """Write snapshots of the runs that have fallen behind."""
        for run_id in list(self.ledger.to_carry(9)):
            fact = self.ledger.carry(run_id)
            self.tell(snapshot_id(run_id, fact.plan_offset, fact.as_of), fact)


class Told:
    """Facts of one run, in short words."""

    def __init__(self, recorder: Recorder, run_id: str, *steps: Step, **options: Any) -> None:
        self.recorder = recorder
        self.run_id = run_id
        self.agents = {step.id: step.agent for step in steps}
        if steps:
            plan = PlanCreated(
                run_id=run_id,
                request=REQUEST,
                plan=Plan(steps=list(steps)),
                options=RunOptions(**options),
                tags={"told": "golden"},
            )
            recorder.tell(message_id(run_id, "plan_created"), plan)

    def say(self, model: type[Message], step_id: str, attempt: int = 1, **fields: Any) -> None:
        fact = model(
            run_id=self.run_id,
            step_id=step_id,
            attempt=attempt,
            agent=self.agents[step_id],
            **fields,
        )
        self.recorder.tell(f"{self.run_id}/{step_id}/{attempt}/{model.NAME}", fact)

    def ok(self, step_id: str, output: Any, attempt: int = 1, **fields: Any) -> None:
        usage = Usage(model="m", calls=1, input_tokens=120, output_tokens=9)
        ok = StepOutcome.OK
        self.say(StepDone, step_id, attempt, outcome=ok, output=output, usage=usage, **fields)

    def fail(self, step_id: str, attempt: int = 1, **error: Any) -> None:
        info = ErrorInfo(**{"code": "division_by_zero", "message": "division by zero"} | error)
        self.say(StepDone, step_id, attempt, outcome=StepOutcome.ERROR, error=info)

    def undone(self, step_id: str, number: int, error: Any = None) -> None:
        name = CompensationDone.NAME
        fact = CompensationDone(
            run_id=self.run_id,
            step_id=step_id,
            attempt=1,
            number=number,
            agent=self.agents[step_id],
            outcome=StepOutcome.ERROR if error else StepOutcome.OK,
            error=ErrorInfo(**error) if error else None,
        )
        self.recorder.tell(undo_id(self.run_id, step_id, 1, number, name), fact)

    def retry(self, **fields: Any) -> None:
        """Ask the run to go on, as a client does: with its state as of its end."""
        lines = [x for x in self.recorder.lines if x["headers"]["ce_subject"] == self.run_id]
        records = [record_of(line) for line in lines]
        run = retell(Recorded(r.offset, r.at_ms, r.message) for r in records)
        assert run is not None
        fact = RetryRequested(
            run_id=self.run_id,
            generation=run.generation + 1,
            plan_offset=run.plan_offset,
            state=snapshot.save(run),
            **fields,
        )
        self.recorder.tell(f"{self.run_id}/retry_requested/{fact.generation}", fact)

    def word(self, model: type[Message], **fields: Any) -> None:
        """Tell what somebody wants of the run."""
        fact = model(run_id=self.run_id, **fields)
        self.recorder.tell(f"{self.run_id}/{model.NAME}/{len(self.recorder.lines)}", fact)

    def cancel(self) -> None:
        fact = CancelRequested(run_id=self.run_id, reason="enough", requested_by="Ann")
        self.recorder.tell(f"{self.run_id}/cancel_requested", fact)
