"""The fold: one fact after the other makes the state of a run.

Rules:
- Facts from outside drive (a plan, a result, a command, a timer that fired); the coordinator's own
  facts only confirm that a decision was published. Where history and this code disagree, history
  wins: a run whose `run_done` is in the log has ended.
- Total: every fact in every state either changes the run or is `Ignored` with a reason.
- Deterministic: no clock but the log's own timestamps (`at_ms`, milliseconds since the epoch).
- A fact costs as much as the steps it changes, not as much as the plan is long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from starlings.messages.base import Message
from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import (
    CancelRequested,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOutcome,
    StepDone,
    StepOutcome,
    StepProgress,
    StepScheduled,
    StepSkipped,
    StepStarted,
    StopAnnounced,
    TimerFired,
    TimerKind,
)
from starlings.messages.ids import attempt_id

from .consequences import (
    DEADLINE_EXCEEDED,
    Folding,
    advance,
    arm_deadline,
    confirm_release,
    fail,
    give_up_waiting,
    reject,
    reported,
    settle,
    skip_id,
    step_timer,
    turn_round,
)
from .context import as_text, shorten
from .state import (
    Change,
    DecisionKind,
    Ignored,
    Run,
    StepState,
    TimerKey,
)
from .transitions import OUT, Phase, RunEvent, RunPhase, StepEvent
from .validation import check_plan

Outcome: TypeAlias = Change | Ignored


def begin(
    fact: PlanCreated | PlanRejected,
    *,
    offset: int,
    at_ms: int,
    cancel: CancelRequested | None = None,
) -> tuple[Run, Change]:
    """Begin a run with the first plan (or its rejection) in the log, at `offset`.

    A `cancel` that came before the plan ends the run at once: nothing is released.
    """
    options = fact.options if isinstance(fact, PlanCreated) else None
    run = Run(
        run_id=fact.run_id,
        options=options
        or PlanCreated.model_fields["options"].get_default(call_default_factory=True),
        plan_offset=offset,
        began_ms=at_ms,
        request=fact.request,
        tags=dict(fact.tags),
    )
    folding = Folding(run, at_ms)
    if isinstance(fact, PlanRejected):
        reject(folding, fact.problems)
        return run, folding.change()
    problems = check_plan(fact.plan, options=fact.options)
    if problems:  # whoever published it, did not validate it
        reject(folding, problems)
        return run, folding.change()
    run.lay_out(fact.plan)
    run.add_usage(fact.usage)
    if cancel is not None:
        _cancel_requested(folding, cancel)
        return run, folding.change()
    arm_deadline(folding)
    for step in run.order:
        if not step.missing:
            run.move(step, StepEvent.DEPENDENCIES_SETTLED)
    advance(folding)
    return run, folding.change()


def fold(run: Run, fact: Message, *, at_ms: int) -> Outcome:
    """Fold one fact into a run (in place); say what it newly requires, or why it was ignored."""
    handler = _HANDLERS.get(type(fact))
    if handler is None:
        return Ignored(f"{fact.NAME} is not a fact of a run")
    if run.phase is RunPhase.ENDED:
        return Ignored("the run has ended")
    return handler(Folding(run, at_ms), fact)


def confirm(run: Run, decision_id: str) -> Outcome:
    """Note that a decision is in the log."""
    if run.owed.pop(decision_id, None) is None:
        return Ignored("nothing of that id is owed")
    return Change()


def record_end(run: Run) -> Outcome:
    """Note that the run's `run_done` is in the log: whatever else is owed, is owed no more."""
    if run.phase is RunPhase.ENDED:
        return Ignored("the run has ended")
    run.turn(RunEvent.END_RECORDED)
    run.owed.clear()
    run.timers.clear()
    return Change()


# -- facts from outside ------------------------------------------------------------------------


def _attempt(folding: Folding, fact: Any) -> StepState | Ignored:
    """Find the step whose current attempt a fact is about, and that is with an agent."""
    step = folding.run.steps.get(fact.step_id)
    if step is None:
        return Ignored("the plan has no such step")
    if fact.attempt != step.attempt:
        return Ignored("stale attempt" if fact.attempt < step.attempt else "attempt not made yet")
    if folding.run.phase is RunPhase.ENDING:
        return Ignored("the run is ending")
    if step.phase not in OUT:
        return Ignored(f"the step is {step.phase.value}")
    return step


def _step_started(folding: Folding, fact: StepStarted) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    if step.phase is Phase.RUNNING:
        return Ignored("the step is running")
    folding.run.move(step, StepEvent.STARTED)
    confirm_release(folding.run, step)
    folding.run.timers.pop(TimerKey(TimerKind.QUEUE, step.spec.id, step.attempt), None)
    limits = folding.run.timeouts(step)
    folding.arm(TimerKey(TimerKind.RUN, step.spec.id, step.attempt), limits.run_s)
    folding.arm(TimerKey(TimerKind.HEARTBEAT, step.spec.id, step.attempt), limits.heartbeat_s)
    return folding.change()


def _step_progress(folding: Folding, fact: StepProgress) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    key = TimerKey(TimerKind.HEARTBEAT, step.spec.id, step.attempt)
    if key not in folding.run.timers:
        return Ignored("nobody waits for a sign of life")
    folding.arm(key, folding.run.timeouts(step).heartbeat_s)
    return folding.change()


def _step_done(folding: Folding, fact: StepDone) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    run = folding.run
    run.add_usage(fact.usage)
    confirm_release(run, step)
    folding.disarm(step)
    if fact.outcome is StepOutcome.OK:
        step.output, step.error = fact.output, None
        step.summary = fact.summary if fact.summary is not None else shorten(as_text(fact.output))
        settle(folding, step, StepEvent.SUCCEEDED)
    elif run.phase is RunPhase.STOPPING and fact.outcome is StepOutcome.CANCELLED:
        settle(folding, step, StepEvent.STOPPED)
    else:
        fail(folding, step, fact.error or reported(fact))
    advance(folding)
    return folding.change()


def _timer_fired(folding: Folding, fact: TimerFired) -> Outcome:
    key = TimerKey(fact.kind, fact.step_id, fact.attempt or 0)
    due_ms = folding.run.timers.get(key)
    if due_ms is None:
        return Ignored("no such timer runs")
    if fact.due_ms < due_ms:
        return Ignored("the timer was set anew")
    del folding.run.timers[key]
    if fact.kind is TimerKind.DEADLINE:
        turn_round(folding, RunEvent.DEADLINE_PASSED, RunOutcome.FAILED, DEADLINE_EXCEEDED)
    elif fact.kind is TimerKind.SETTLE:
        give_up_waiting(folding)
    else:
        step_timer(folding, fact.kind, folding.run.steps[fact.step_id or ""])
    advance(folding)
    return folding.change()


def _cancel_requested(folding: Folding, fact: CancelRequested) -> Outcome:
    if folding.run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {folding.run.phase.value}")
    by = f" by {fact.requested_by}" if fact.requested_by else ""
    why = f": {fact.reason}" if fact.reason else ""
    error = ErrorInfo(code="cancelled", message=f"cancelled{by}{why}")
    turn_round(folding, RunEvent.CANCEL_REQUESTED, RunOutcome.CANCELLED, error)
    advance(folding)
    return folding.change()


def _plan_again(folding: Folding, fact: Message) -> Outcome:
    del folding, fact
    return Ignored("the run has its plan: the first one in the log counts")


# -- facts of the coordinator ------------------------------------------------------------------


def _step_scheduled(folding: Folding, fact: StepScheduled) -> Outcome:
    return confirm(
        folding.run,
        attempt_id(fact.run_id, fact.step_id, fact.attempt, DecisionKind.RELEASE.value),
    )


def _step_skipped(folding: Folding, fact: StepSkipped) -> Outcome:
    return confirm(folding.run, skip_id(fact.run_id, fact.step_id))


def _stop_announced(folding: Folding, fact: StopAnnounced) -> Outcome:
    return confirm(folding.run, fact.stop_id)


def _run_done(folding: Folding, fact: RunDone) -> Outcome:
    folding.run.outcome = fact.outcome
    return record_end(folding.run)


_HANDLERS: dict[type[Message], Callable[[Folding, Any], Outcome]] = {
    PlanCreated: _plan_again,
    PlanRejected: _plan_again,
    StepStarted: _step_started,
    StepProgress: _step_progress,
    StepDone: _step_done,
    TimerFired: _timer_fired,
    CancelRequested: _cancel_requested,
    StepScheduled: _step_scheduled,
    StepSkipped: _step_skipped,
    StopAnnounced: _stop_announced,
    RunDone: _run_done,
}
