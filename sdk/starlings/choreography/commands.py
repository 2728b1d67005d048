"""Commands: what people and clients want of a run, folded like every other fact."""

from __future__ import annotations

from starlings.messages.commands import (
    ApprovalGiven,
    CancelRequested,
    PauseRequested,
    ReplanRequested,
    ResumeRequested,
    RetryRequested,
    SignalReceived,
)
from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import RunOutcome

from . import asking, replanning
from .consequences import advance, answer
from .folding import Folding
from .state import Ignored, Outcome
from .transitions import Phase, RunEvent, RunPhase
from .turning import interrupt


def cancel_requested(folding: Folding, fact: CancelRequested) -> Outcome:
    """End the run now, as its policy says."""
    if folding.run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {folding.run.phase.value}")
    by = f" by {fact.requested_by}" if fact.requested_by else ""
    why = f": {fact.reason}" if fact.reason else ""
    error = ErrorInfo(code="cancelled", message=f"cancelled{by}{why}")
    interrupt(folding, RunEvent.CANCEL_REQUESTED, RunOutcome.CANCELLED, error)
    advance(folding)
    return folding.change()


def pause_requested(folding: Folding, fact: PauseRequested) -> Outcome:
    """Release no more steps for now."""
    del fact
    run = folding.run
    if run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {run.phase.value}")
    if run.paused:
        return Ignored("the run is paused")
    run.paused = True
    return folding.change()


def resume_requested(folding: Folding, fact: ResumeRequested) -> Outcome:
    """Go on releasing steps."""
    del fact
    if not folding.run.paused:
        return Ignored("the run is not paused")
    folding.run.paused = False
    advance(folding)
    return folding.change()


def replan_requested(folding: Folding, fact: ReplanRequested) -> Outcome:
    """Have the run planned anew, once those who asked before have their answer."""
    run = folding.run
    if run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {run.phase.value}")
    if len(run.replans) >= replanning.OPEN_LIMIT:
        return Ignored(f"{len(run.replans)} such requests wait already")
    replanning.want(run, fact.text)
    advance(folding)
    return folding.change()


def retry_requested(folding: Folding, fact: RetryRequested) -> Outcome:
    """Refuse to go on with a run that has not ended; for others see `reopening`."""
    del fact
    return Ignored(f"the run has not ended, it is {folding.run.phase.value}")


def approval_given(folding: Folding, fact: ApprovalGiven) -> Outcome:
    """End a step that asks for an approval."""
    step = folding.run.steps.get(fact.step_id)
    if step is None:
        return Ignored("the plan has no such step")
    if step.spec.approval is None:
        return Ignored("the step asks for no approval")
    if step.phase is not Phase.ASKING:
        return Ignored(f"the step is {step.phase.value}")
    answer(folding, step, *asking.verdict(fact))
    advance(folding)
    return folding.change()


def signal_received(folding: Folding, fact: SignalReceived) -> Outcome:
    """End the step that waits for a signal, or keep it for one."""
    run = folding.run
    if run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {run.phase.value}")
    waiting = run.asking.get(fact.name)
    if waiting:
        answer(folding, run.order[min(waiting)], fact.payload, None)
        advance(folding)
    elif (why := asking.keep_signal(run, fact.name, fact.payload)) is not None:
        return Ignored(why)
    return folding.change()
