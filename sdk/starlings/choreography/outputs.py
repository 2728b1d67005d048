"""What decisions look like on Kafka: a function of the run's state, the same at every try."""

from __future__ import annotations

from typing import NamedTuple

from starlings.messages.base import Message
from starlings.messages.errors import InvariantBroken
from starlings.messages.facts import (
    DependencyResult,
    RunDone,
    StepReady,
    StepScheduled,
    StepSkipped,
    StepSummary,
    StopAnnounced,
    StopRequested,
    Usage,
)
from starlings.messages.ids import attempt_id

from .context import combined_text
from .state import Decision, DecisionKind, Run, StepState
from .transitions import Phase

ANNOUNCED = "/announced"


class Confirmation(NamedTuple):
    """The fact that says that a decision has been published elsewhere than on `events`."""

    id: str
    message: Message


def message_for(run: Run, decision: Decision) -> Message:
    """Build the message that carries a decision out."""
    if decision.kind is DecisionKind.RELEASE:
        return step_ready(run, run.steps[decision.step_id or ""])
    if decision.kind is DecisionKind.SKIP:
        return StepSkipped(
            run_id=run.run_id, step_id=decision.step_id or "", because=decision.because
        )
    if decision.kind is DecisionKind.STOP:
        attempts = {decision.step_id: decision.attempt} if decision.step_id else None
        return StopRequested(run_id=run.run_id, reason=decision.because, attempts=attempts)
    return run_done(run)


def confirmation_for(run: Run, decision: Decision) -> Confirmation | None:
    """Build the confirming fact; None where the decision is itself a fact on `events`."""
    if decision.kind is DecisionKind.RELEASE:
        step = run.steps[decision.step_id or ""]
        return Confirmation(
            attempt_id(run.run_id, step.spec.id, decision.attempt, StepScheduled.NAME),
            StepScheduled(
                run_id=run.run_id,
                step_id=step.spec.id,
                attempt=decision.attempt,
                agent=step.spec.agent,
            ),
        )
    if decision.kind is DecisionKind.STOP:
        announced = StopAnnounced(run_id=run.run_id, stop_id=decision.id)
        return Confirmation(decision.id + ANNOUNCED, announced)
    return None


def confirmed_decision(name: str, message_id: str) -> str | None:
    """Tell which decision a fact of the coordinator confirms, from its header alone."""
    if name == StepScheduled.NAME:
        return message_id.removesuffix(StepScheduled.NAME) + DecisionKind.RELEASE.value
    if name == StopAnnounced.NAME:
        return message_id.removesuffix(ANNOUNCED)
    return message_id if name == StepSkipped.NAME else None


def step_ready(run: Run, step: StepState) -> StepReady:
    """Build the work for a step's current attempt, with the results of its dependencies."""
    spec = step.spec
    return StepReady(
        run_id=run.run_id,
        step_id=spec.id,
        attempt=step.attempt,
        agent=spec.agent,
        task=spec.task,
        input=spec.input,
        tool=spec.tool,
        args=spec.args,
        context=[_dependency_result(run.steps[d]) for d in dict.fromkeys(spec.depends_on)],
        timeouts=run.timeouts(step),
    )


def _dependency_result(step: StepState) -> DependencyResult:
    if not step.settled:
        raise InvariantBroken(f"step {step.spec.id!r} is handed on before it has settled")
    # Not validated again: all of it was, when its fact was read, and outputs may be large.
    return DependencyResult.model_construct(
        step_id=step.spec.id,
        agent=step.spec.agent,
        summary=step.summary or "",
        output=step.output,
        error=step.error if step.phase is Phase.FAILED else None,
    )


def run_done(run: Run) -> RunDone:
    """Build the run's end: every step in plan order, and one text."""
    if run.outcome is None:
        raise InvariantBroken(f"run {run.run_id} has no outcome yet")
    steps = [_summary(step) for step in run.order]
    return RunDone(
        run_id=run.run_id,
        outcome=run.outcome,
        text=combined_text(steps),
        output=run.order[-1].output if run.order else None,
        steps=steps,
        error=run.error,
        problems=run.problems,
        usage=Usage(**run.usage) if run.usage else None,
        duration_s=max(run.ended_ms - run.began_ms, 0) / 1000,
    )


def _summary(step: StepState) -> StepSummary:
    return StepSummary.model_construct(
        step_id=step.spec.id,
        agent=step.spec.agent,
        state=step.phase.value,
        attempts=step.attempt,
        summary=step.summary,
        output=step.output,
        error=step.error if step.phase is Phase.FAILED else None,
    )
