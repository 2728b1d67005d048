"""Turning a run round, and stopping what is under way: of a whole run, or of a part of it."""

from __future__ import annotations

from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import RunOutcome, TimerKind
from starlings.messages.ids import attempt_id

from . import asking, saga
from .folding import Folding, whole_run_id
from .state import Decision, DecisionKind, Run, StepState, TimerKey
from .transitions import Phase, RunEvent, RunPhase, StepEvent

SETTLE_GRACE_MS = 10_000  # how long a stopping run waits for attempts that are with agents
UNDO_GRACE_MS = 30_000  # a compensating one: longer than a group needs to notice a dead agent

_NOT_OUT = frozenset({Phase.WAITING, Phase.READY, Phase.BACKOFF, Phase.ASKING, Phase.MAPPING})
_OF_A_RUNNING_RUN = frozenset({DecisionKind.RELEASE, DecisionKind.PLAN_ANEW, DecisionKind.AMEND})


def interrupt(folding: Folding, event: RunEvent, outcome: RunOutcome, error: ErrorInfo) -> None:
    """Turn a run round from outside, as its own policy says."""
    undoes = saga.undoes_in_the_end(folding.run.options.on_failure)
    turn_round(folding, RunEvent.TURNED_ROUND if undoes else event, outcome, error)


def fail_round(folding: Folding, step: StepState, error: ErrorInfo, *, stops: bool) -> None:
    """Turn a run round because a step has failed for good."""
    what = f"step {step.spec.id!r} failed: {error.message}"
    event = RunEvent.STEP_FAILED if stops else RunEvent.TURNED_ROUND
    failed = ErrorInfo(code=error.code, message=what)
    turn_round(folding, event, RunOutcome.FAILED, failed)


def turn_round(
    folding: Folding, event: RunEvent, outcome: RunOutcome, error: ErrorInfo | None
) -> None:
    """Stop: no new work; attempts that are with agents are told to stop and may settle."""
    run = folding.run
    run.turn(event)
    run.outcome, run.error = outcome, error
    run.reason = error.message if error else outcome.value
    undoing = run.phase is RunPhase.COMPENSATING
    for key in [key for key in run.timers if key.kind not in saga.UNDO_TIMERS]:
        del run.timers[key]
    run.ready.clear()
    forget_replans(run)
    for step in run.order:
        halt(run, step)
        if step.phase in (Phase.WAITING, Phase.READY):
            run.move(step, StepEvent.STOPPED)
    for decision in [d for d in run.owed.values() if d.kind in _OF_A_RUNNING_RUN]:
        del run.owed[decision.id]
    if run.unsettled:
        stop = whole_run_id(run, DecisionKind.STOP)
        folding.decide(Decision(stop, DecisionKind.STOP, because=outcome.value))
        grace_ms = UNDO_GRACE_MS if undoing else SETTLE_GRACE_MS
        folding.arm(TimerKey(TimerKind.SETTLE), grace_ms / 1000)
    if undoing:
        saga.begin(run, run.order)
        saga.clear_free(folding, run.order)
    else:
        saga.forget_waiting(run)


def halt(run: Run, step: StepState) -> None:
    """End what a step does, other than at an agent, and other than to wait for its turn."""
    if step.phase is Phase.ASKING:
        asking.stop_asking(run, step)
    if step.phase is Phase.AMENDING:  # it is done, and not amended any more
        forget_amendment(run, step)
        run.move(step, StepEvent.SUCCEEDED)
    if step.phase in (Phase.BACKOFF, Phase.ASKING, Phase.MAPPING):
        run.move(step, StepEvent.STOPPED)


def stop_attempt(folding: Folding, step: StepState, why: str) -> None:
    """Tell whoever has an attempt that its time is over."""
    stop = attempt_id(folding.run.run_id, step.spec.id, step.attempt, DecisionKind.STOP.value)
    folding.decide(Decision(stop, DecisionKind.STOP, step.spec.id, step.attempt, why))


def forget_amendment(run: Run, step: StepState) -> None:
    """Let go of the amendment that came with a step's result."""
    step.amendment = None
    run.owed.pop(attempt_id(run.run_id, step.spec.id, step.attempt, DecisionKind.AMEND.value), None)


def forget_replans(run: Run) -> None:
    """Let go of every other plan that was asked for."""
    run.replans.clear()
    run.rewinding = 0
    for step in run.order:
        step.rewinding = False
