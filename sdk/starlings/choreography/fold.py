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

import heapq
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from starlings.messages.base import Message
from starlings.messages.errors import ErrorInfo, InvariantBroken, Problem
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
from starlings.messages.ids import attempt_id, message_id
from starlings.messages.plan import FailurePolicy

from .context import as_text, shorten
from .state import (
    Change,
    Decision,
    DecisionKind,
    Ignored,
    Run,
    StepState,
    Timer,
    TimerKey,
)
from .transitions import OUT, Phase, RunEvent, RunPhase, StepEvent
from .validation import check_plan

SETTLE_GRACE_MS = 10_000  # how long a stopping run waits for attempts that are with agents
LONGEST_S = 100 * 365 * 86_400.0  # no timer runs longer, so that every due time is a sane number

Outcome: TypeAlias = Change | Ignored


class _Fold:
    """One fact being folded: collects what it newly requires."""

    __slots__ = ("at_ms", "decisions", "run", "timers")

    def __init__(self, run: Run, at_ms: int) -> None:
        self.run = run
        self.at_ms = at_ms
        self.decisions: list[Decision] = []
        self.timers: list[Timer] = []

    def change(self) -> Change:
        return Change(tuple(self.decisions), tuple(self.timers))

    def decide(self, decision: Decision) -> None:
        self.run.owed[decision.id] = decision
        self.decisions.append(decision)

    def arm(self, key: TimerKey, after_s: float | None) -> None:
        if after_s is None:
            return
        due_ms = self.at_ms + int(min(after_s, LONGEST_S) * 1000)
        self.run.timers[key] = due_ms
        self.timers.append(Timer(key, due_ms))

    def disarm(self, step: StepState) -> None:
        timers = self.run.timers
        if timers:
            for kind in (TimerKind.QUEUE, TimerKind.RUN, TimerKind.HEARTBEAT, TimerKind.RETRY):
                timers.pop(TimerKey(kind, step.spec.id, step.attempt), None)


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
    folding = _Fold(run, at_ms)
    if isinstance(fact, PlanRejected):
        _reject(folding, fact.problems)
        return run, folding.change()
    problems = check_plan(fact.plan, options=fact.options)
    if problems:  # whoever published it, did not validate it
        _reject(folding, problems)
        return run, folding.change()
    run.lay_out(fact.plan)
    run.add_usage(fact.usage)
    if cancel is not None:
        _cancel_requested(folding, cancel)
        return run, folding.change()
    _arm_deadline(folding)
    for step in run.order:
        if not step.missing:
            run.move(step, StepEvent.DEPENDENCIES_SETTLED)
    _advance(folding)
    return run, folding.change()


def fold(run: Run, fact: Message, *, at_ms: int) -> Outcome:
    """Fold one fact into a run (in place); say what it newly requires, or why it was ignored."""
    handler = _HANDLERS.get(type(fact))
    if handler is None:
        return Ignored(f"{fact.NAME} is not a fact of a run")
    if run.phase is RunPhase.ENDED:
        return Ignored("the run has ended")
    return handler(_Fold(run, at_ms), fact)


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


def _attempt(folding: _Fold, fact: Any) -> StepState | Ignored:
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


def _step_started(folding: _Fold, fact: StepStarted) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    if step.phase is Phase.RUNNING:
        return Ignored("the step is running")
    folding.run.move(step, StepEvent.STARTED)
    _confirm_release(folding.run, step)
    folding.run.timers.pop(TimerKey(TimerKind.QUEUE, step.spec.id, step.attempt), None)
    limits = folding.run.timeouts(step)
    folding.arm(TimerKey(TimerKind.RUN, step.spec.id, step.attempt), limits.run_s)
    folding.arm(TimerKey(TimerKind.HEARTBEAT, step.spec.id, step.attempt), limits.heartbeat_s)
    return folding.change()


def _step_progress(folding: _Fold, fact: StepProgress) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    key = TimerKey(TimerKind.HEARTBEAT, step.spec.id, step.attempt)
    if key not in folding.run.timers:
        return Ignored("nobody waits for a sign of life")
    folding.arm(key, folding.run.timeouts(step).heartbeat_s)
    return folding.change()


def _step_done(folding: _Fold, fact: StepDone) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    run = folding.run
    run.add_usage(fact.usage)
    _confirm_release(run, step)
    folding.disarm(step)
    if fact.outcome is StepOutcome.OK:
        step.output, step.error = fact.output, None
        step.summary = fact.summary if fact.summary is not None else shorten(as_text(fact.output))
        _settle(folding, step, StepEvent.SUCCEEDED)
    elif run.phase is RunPhase.STOPPING and fact.outcome is StepOutcome.CANCELLED:
        _settle(folding, step, StepEvent.STOPPED)
    else:
        _fail(folding, step, fact.error or _no_error(fact))
    _advance(folding)
    return folding.change()


def _timer_fired(folding: _Fold, fact: TimerFired) -> Outcome:
    key = TimerKey(fact.kind, fact.step_id, fact.attempt or 0)
    due_ms = folding.run.timers.get(key)
    if due_ms is None:
        return Ignored("no such timer runs")
    if fact.due_ms < due_ms:
        return Ignored("the timer was set anew")
    del folding.run.timers[key]
    if fact.kind is TimerKind.DEADLINE:
        _turn_round(folding, RunEvent.DEADLINE_PASSED, RunOutcome.FAILED, _DEADLINE)
    elif fact.kind is TimerKind.SETTLE:
        _give_up_waiting(folding)
    else:
        _step_timer(folding, fact.kind, folding.run.steps[fact.step_id or ""])
    _advance(folding)
    return folding.change()


def _cancel_requested(folding: _Fold, fact: CancelRequested) -> Outcome:
    if folding.run.phase is not RunPhase.RUNNING:
        return Ignored(f"the run is {folding.run.phase.value}")
    by = f" by {fact.requested_by}" if fact.requested_by else ""
    why = f": {fact.reason}" if fact.reason else ""
    error = ErrorInfo(code="cancelled", message=f"cancelled{by}{why}")
    _turn_round(folding, RunEvent.CANCEL_REQUESTED, RunOutcome.CANCELLED, error)
    _advance(folding)
    return folding.change()


def _plan_again(folding: _Fold, fact: Message) -> Outcome:
    del folding, fact
    return Ignored("the run has its plan: the first one in the log counts")


# -- facts of the coordinator ------------------------------------------------------------------


def _step_scheduled(folding: _Fold, fact: StepScheduled) -> Outcome:
    return confirm(
        folding.run,
        attempt_id(fact.run_id, fact.step_id, fact.attempt, DecisionKind.RELEASE.value),
    )


def _step_skipped(folding: _Fold, fact: StepSkipped) -> Outcome:
    return confirm(folding.run, skip_id(fact.run_id, fact.step_id))


def _stop_announced(folding: _Fold, fact: StopAnnounced) -> Outcome:
    return confirm(folding.run, fact.stop_id)


def _run_done(folding: _Fold, fact: RunDone) -> Outcome:
    folding.run.outcome = fact.outcome
    return record_end(folding.run)


_HANDLERS: dict[type[Message], Callable[[_Fold, Any], Outcome]] = {
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


# -- what follows ------------------------------------------------------------------------------


def skip_id(run_id: str, step_id: str) -> str:
    """Id of the decision that a step will not run."""
    return f"{run_id}/{step_id}/{DecisionKind.SKIP.value}"


def _no_error(fact: StepDone) -> ErrorInfo:
    return ErrorInfo(
        code=fact.outcome.value, message=f"the agent reported {fact.outcome.value}", retryable=True
    )


_DEADLINE = ErrorInfo(code="deadline_exceeded", message="the run took longer than it may")
_TIMEOUTS = {
    TimerKind.QUEUE: ("queue_timeout", "no agent started the step in time"),
    TimerKind.RUN: ("run_timeout", "the agent did not finish the step in time"),
    TimerKind.HEARTBEAT: ("heartbeat_timeout", "the agent gave no sign of life in time"),
}


def _reject(folding: _Fold, problems: Sequence[Problem]) -> None:
    folding.run.problems = list(problems)
    first = str(problems[0]) if problems else "no plan could be made"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    error = ErrorInfo(code="plan_rejected", message=first + more)
    _end(folding, RunEvent.PLAN_REJECTED, RunOutcome.REJECTED, error)


def _confirm_release(run: Run, step: StepState) -> None:
    """An attempt that an agent has touched was published, whatever the log says of it yet."""
    run.owed.pop(attempt_id(run.run_id, step.spec.id, step.attempt, "step_ready"), None)


def _arm_deadline(folding: _Fold) -> None:
    options = folding.run.options
    limits = [options.timeout_s] if options.timeout_s is not None else []
    if options.deadline is not None:
        limits.append(max(options.deadline.timestamp() - folding.at_ms / 1000, 0.0))
    folding.arm(TimerKey(TimerKind.DEADLINE), min(limits, default=None))


def _step_timer(folding: _Fold, kind: TimerKind, step: StepState) -> None:
    if kind is TimerKind.RETRY:
        folding.run.move(step, StepEvent.RETRY_DUE)
        return
    code, message = _TIMEOUTS[kind]
    _confirm_release(folding.run, step)
    folding.disarm(step)
    _stop(folding, step)
    _fail(folding, step, ErrorInfo(code=code, message=message, retryable=True))


def _fail(folding: _Fold, step: StepState, error: ErrorInfo) -> None:
    run = folding.run
    policy = run.retry_policy(step)
    step.error = error
    if run.phase is RunPhase.RUNNING and error.retryable and step.attempt < policy.attempts:
        run.move(step, StepEvent.FAILED_FOR_NOW)
        wait_s = min(policy.initial_s * policy.factor ** (step.attempt - 1), policy.max_s)
        wait_s = max(wait_s, error.retry_after_s or 0)
        folding.arm(TimerKey(TimerKind.RETRY, step.spec.id, step.attempt), wait_s)
        return
    on_failure = run.failure_policy(step)
    if run.phase is RunPhase.RUNNING and on_failure is FailurePolicy.STOP:
        run.move(step, StepEvent.FAILED_FOR_GOOD)
        failed = ErrorInfo(
            code=error.code, message=f"step {step.spec.id!r} failed: {error.message}"
        )
        _turn_round(folding, RunEvent.STEP_FAILED, RunOutcome.FAILED, failed)
    elif on_failure is FailurePolicy.SKIP_DEPENDENTS:
        run.move(step, StepEvent.FAILED_FOR_GOOD)
        _skip_dependents(folding, step)
    else:
        _settle(folding, step, StepEvent.FAILED_FOR_GOOD)


def _settle(folding: _Fold, step: StepState, event: StepEvent) -> None:
    """Settle a step and let those that waited for it go on."""
    run = folding.run
    run.move(step, event)
    if run.phase is not RunPhase.RUNNING:
        return
    for index in step.dependents:
        dependent = run.order[index]
        dependent.missing -= 1
        if not dependent.missing and dependent.phase is Phase.WAITING:
            run.move(dependent, StepEvent.DEPENDENCIES_SETTLED)


def _skip_dependents(folding: _Fold, failed: StepState) -> None:
    """Skip everything that depends on a failed step, directly or through others."""
    run = folding.run
    todo = list(failed.dependents)
    while todo:
        step = run.order[todo.pop()]
        if step.phase is not Phase.WAITING:
            continue
        run.move(step, StepEvent.DEPENDENCY_FAILED)
        step.because = failed.spec.id
        folding.decide(
            Decision(
                skip_id(run.run_id, step.spec.id),
                DecisionKind.SKIP,
                step.spec.id,
                because=failed.spec.id,
            )
        )
        todo.extend(step.dependents)


def _turn_round(
    folding: _Fold, event: RunEvent, outcome: RunOutcome, error: ErrorInfo | None
) -> None:
    """Stop: no new work; attempts that are with agents are told to stop and may settle."""
    run = folding.run
    run.turn(event)
    run.outcome, run.error = outcome, error
    run.timers.clear()
    run.ready.clear()
    for step in run.order:
        if step.phase in (Phase.WAITING, Phase.READY, Phase.BACKOFF):
            run.move(step, StepEvent.STOPPED)
    for decision in [d for d in run.owed.values() if d.kind is DecisionKind.RELEASE]:
        del run.owed[decision.id]
    if run.out:
        stop = message_id(run.run_id, DecisionKind.STOP.value)
        folding.decide(Decision(stop, DecisionKind.STOP, because=outcome.value))
        folding.arm(TimerKey(TimerKind.SETTLE), SETTLE_GRACE_MS / 1000)


def _stop(folding: _Fold, step: StepState) -> None:
    """Tell whoever has an attempt that its time is over."""
    stop = attempt_id(folding.run.run_id, step.spec.id, step.attempt, DecisionKind.STOP.value)
    folding.decide(Decision(stop, DecisionKind.STOP, step.spec.id, step.attempt, "timeout"))


def _give_up_waiting(folding: _Fold) -> None:
    run = folding.run
    for step in run.order:
        if step.phase in OUT:
            run.move(step, StepEvent.STOPPED)
    _end(folding, RunEvent.GRACE_PASSED, run.outcome, run.error)


def _advance(folding: _Fold) -> None:
    """Release what may go out; end the run when nothing is left."""
    run = folding.run
    if run.phase is RunPhase.RUNNING:
        limit = run.options.max_parallel
        while run.ready and (limit is None or run.out < limit):
            step = run.order[heapq.heappop(run.ready)]
            run.move(step, StepEvent.PLACE_FREE)
            step.attempt += 1
            ident = attempt_id(run.run_id, step.spec.id, step.attempt, "step_ready")
            folding.decide(Decision(ident, DecisionKind.RELEASE, step.spec.id, step.attempt))
            folding.arm(
                TimerKey(TimerKind.QUEUE, step.spec.id, step.attempt), run.timeouts(step).queue_s
            )
    if run.unsettled == 0 and run.phase in (RunPhase.RUNNING, RunPhase.STOPPING):
        outcome = run.outcome or _natural_outcome(run)
        _end(folding, RunEvent.ALL_SETTLED, outcome, run.error or _first_error(run))


def _natural_outcome(run: Run) -> RunOutcome:
    phases = {step.phase for step in run.order}
    if phases <= {Phase.DONE}:
        return RunOutcome.COMPLETED
    return RunOutcome.PARTIAL if Phase.DONE in phases else RunOutcome.FAILED


def _first_error(run: Run) -> ErrorInfo | None:
    return next((step.error for step in run.order if step.phase is Phase.FAILED), None)


def _end(
    folding: _Fold, event: RunEvent, outcome: RunOutcome | None, error: ErrorInfo | None
) -> None:
    run = folding.run
    if outcome is None:
        raise InvariantBroken(f"run {run.run_id} ends without an outcome")
    run.turn(event)
    run.outcome, run.error, run.ended_ms = outcome, error, folding.at_ms
    run.timers.clear()
    folding.decide(Decision(message_id(run.run_id, DecisionKind.END.value), DecisionKind.END))
