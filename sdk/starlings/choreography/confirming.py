"""Facts of the coordinator: they only confirm that a decision has been published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlings.messages.base import Message
from starlings.messages.compensations import CompensationAbandoned, CompensationScheduled
from starlings.messages.facts import RunDone, StopAnnounced
from starlings.messages.ids import attempt_id, replan_id, undo_id
from starlings.messages.replanning import ReplanScheduled
from starlings.messages.steps import ApprovalRequested, StepScheduled, StepSkipped

from .consequences import advance
from .folding import Folding, skip_id
from .state import NOTHING_MORE, DecisionKind, Ignored, Outcome, Run
from .transitions import RunEvent, RunPhase


def confirm(run: Run, decision_id: str, *, at_ms: int) -> Outcome:
    """Note that a decision is in the log."""
    decision = run.owed.pop(decision_id, None)
    if decision is None:
        return Ignored("nothing of that id is owed")
    if decision.kind is not DecisionKind.BURY:
        return NOTHING_MORE
    run.burials -= 1  # the run's end waits for its dead letters
    folding = Folding(run, at_ms)
    advance(folding)
    return folding.change()


def record_end(run: Run) -> Outcome:
    """Note that the run's `run_done` is in the log: whatever else is owed, is owed no more."""
    if run.phase is RunPhase.ENDED:
        return Ignored("the run has ended")
    run.turn(RunEvent.END_RECORDED)
    run.owed.clear()
    run.timers.clear()
    return NOTHING_MORE


def _step_scheduled(folding: Folding, fact: StepScheduled) -> Outcome:
    ident = attempt_id(fact.run_id, fact.step_id, fact.attempt, DecisionKind.RELEASE.value)
    return _confirm(folding, ident)


def _replan_scheduled(folding: Folding, fact: ReplanScheduled) -> Outcome:
    name = DecisionKind.PLAN_ANEW.value
    return _confirm(folding, replan_id(fact.run_id, fact.number, name))


def _step_skipped(folding: Folding, fact: StepSkipped) -> Outcome:
    return _confirm(folding, skip_id(folding.run, fact.step_id))


def _stop_announced(folding: Folding, fact: StopAnnounced) -> Outcome:
    return _confirm(folding, fact.stop_id)


def _approval_requested(folding: Folding, fact: ApprovalRequested) -> Outcome:
    ident = attempt_id(fact.run_id, fact.step_id, fact.attempt, DecisionKind.ASK.value)
    return _confirm(folding, ident)


def _compensation_scheduled(folding: Folding, fact: CompensationScheduled) -> Outcome:
    name = DecisionKind.UNDO.value
    return _confirm(folding, undo_id(fact.run_id, fact.step_id, fact.attempt, fact.number, name))


def _compensation_abandoned(folding: Folding, fact: CompensationAbandoned) -> Outcome:
    name = DecisionKind.BURY.value
    return _confirm(folding, undo_id(fact.run_id, fact.step_id, fact.attempt, fact.number, name))


def _confirm(folding: Folding, decision_id: str) -> Outcome:
    return confirm(folding.run, decision_id, at_ms=folding.at_ms)


def _run_done(folding: Folding, fact: RunDone) -> Outcome:
    folding.run.outcome = fact.outcome
    return record_end(folding.run)


CONFIRMATIONS: dict[type[Message], Callable[[Folding, Any], Outcome]] = {
    ApprovalRequested: _approval_requested,
    CompensationScheduled: _compensation_scheduled,
    CompensationAbandoned: _compensation_abandoned,
    ReplanScheduled: _replan_scheduled,
    StepScheduled: _step_scheduled,
    StepSkipped: _step_skipped,
    StopAnnounced: _stop_announced,
    RunDone: _run_done,
}
