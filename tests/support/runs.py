"""Telling the story of one run to the core, fact by fact, as a log would."""

from __future__ import annotations

from typing import Any

from starlings.choreography import Change, Decision, DecisionKind, Ignored, Run, begin, fold
from starlings.choreography.outputs import run_done
from starlings.messages import (
    Approval,
    CancelRequested,
    ErrorInfo,
    FailurePolicy,
    Message,
    Plan,
    PlanCreated,
    RunDone,
    RunOptions,
    SignalWait,
    Step,
    StepDone,
    StepOutcome,
    StepProgress,
    StepStarted,
    TimerFired,
    TimerKind,
    Usage,
)

BEGIN_MS = 1_000_000


def step(name: str, *depends_on: str, **more: Any) -> Step:
    """Make a step of the agent `math`."""
    return Step(**{"id": name, "agent": "math", "task": f"do {name}"} | more, depends_on=depends_on)


def asks(name: str = "ok", *depends_on: str, foreach: Any = None, **more: Any) -> Step:
    """Make a step that asks a person."""
    approval = Approval(question="Spend 500?", **more)
    return step(name, *depends_on, agent="human", task="", approval=approval, foreach=foreach)


def waits(name: str = "paid", *depends_on: str, **more: Any) -> Step:
    """Make a step that waits for the signal `payment`."""
    signal = SignalWait(name="payment", **more)
    return step(name, *depends_on, agent="signal", task="", signal=signal)


def steps_of(*specs: str) -> list[Step]:
    """Read steps from a short form: `c<a,b` depends on a and b."""
    parts = [spec.partition("<") for spec in specs]
    return [step(name, *(d for d in deps.split(",") if d)) for name, _, deps in parts]


def ok(name: str, output: Any = None, *, attempt: int = 1, **more: Any) -> StepDone:
    return StepDone(
        run_id="r",
        step_id=name,
        attempt=attempt,
        agent="math",
        outcome=StepOutcome.OK,
        output=output,
        **more,
    )


def failed(name: str, attempt: int = 1, *, retryable: bool = False, **more: Any) -> StepDone:
    error = ErrorInfo(code="broken", message=f"{name} broke", retryable=retryable, **more)
    return StepDone(
        run_id="r",
        step_id=name,
        attempt=attempt,
        agent="math",
        outcome=StepOutcome.ERROR,
        error=error,
    )


def cancelled(name: str, attempt: int = 1) -> StepDone:
    return StepDone(
        run_id="r", step_id=name, attempt=attempt, agent="math", outcome=StepOutcome.CANCELLED
    )


def started(name: str, attempt: int = 1) -> StepStarted:
    return StepStarted(run_id="r", step_id=name, attempt=attempt, agent="math")


def progress(name: str, attempt: int = 1) -> StepProgress:
    return StepProgress(run_id="r", step_id=name, attempt=attempt, agent="math")


CANCEL = CancelRequested(run_id="r", reason="enough", requested_by="Ann")


class Story:
    """A run called `r`, and a clock in seconds since its plan; it stops at failures."""

    def __init__(
        self, *specs: str | Step, cancel: CancelRequested | None = None, **options: Any
    ) -> None:
        options.setdefault("on_failure", FailurePolicy.STOP)
        steps = [s if isinstance(s, Step) else steps_of(s)[0] for s in specs]
        plan = PlanCreated(
            run_id="r",
            request="please",
            plan=Plan.model_construct(steps=steps),
            options=RunOptions(**options),
            tags={"who": "me"},
            usage=Usage(calls=1, input_tokens=10, output_tokens=5),
        )
        self.run: Run
        self.run, self.change = begin(plan, offset=7, at_ms=BEGIN_MS, cancel=cancel)

    def tell(self, *facts: Message, at_s: float = 0) -> Change | Ignored:
        """Fold facts at one time; return what the last one led to."""
        outcome: Change | Ignored = Change()
        for fact in facts:
            outcome = fold(self.run, fact, at_ms=BEGIN_MS + int(at_s * 1000))
        return outcome

    def fire(self, kind: TimerKind, name: str | None = None) -> Change | Ignored:
        """Let a running timer fire at its time."""
        key, due_ms = next(
            (key, due)
            for key, due in self.run.timers.items()
            if (key.kind, key.step_id) == (kind, name)
        )
        fact = TimerFired(run_id="r", kind=kind, step_id=name, attempt=key.attempt, due_ms=due_ms)
        return fold(self.run, fact, at_ms=due_ms)

    def owed(self, kind: DecisionKind) -> list[Decision]:
        return [decision for decision in self.run.owed.values() if decision.kind is kind]

    def timers(self) -> dict[str, float]:
        """Say which timers run, with their due times in seconds since the plan."""
        return {
            f"{key.kind.value} {key.step_id}" if key.step_id else key.kind.value: (due - BEGIN_MS)
            / 1000
            for key, due in self.run.timers.items()
        }

    def phases(self) -> dict[str, str]:
        return {name: state.phase.value for name, state in self.run.steps.items()}

    @property
    def end(self) -> RunDone:
        """The run's end, which must be owed."""
        assert self.owed(DecisionKind.END), f"the run is {self.run.phase}"
        return run_done(self.run)
