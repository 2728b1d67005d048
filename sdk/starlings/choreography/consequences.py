"""What follows from a fact: who settles, who is released, when a run turns round or ends.

Called by the fold, one fact at a time; whatever is newly required is collected in a `Folding`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from starlings.messages.errors import ErrorInfo, InvariantBroken, Problem
from starlings.messages.facts import RunOutcome, StepDone, TimerKind
from starlings.messages.ids import attempt_id, message_id
from starlings.messages.plan import FailurePolicy

from .state import Change, Decision, DecisionKind, Run, StepState, Timer, TimerKey
from .transitions import OUT, Phase, RunEvent, RunPhase, StepEvent

SETTLE_GRACE_MS = 10_000  # how long a stopping run waits for attempts that are with agents
LONGEST_RETRY_S = 86_400.0  # a provider that asks for more is asked again after a day
LONGEST_S = 100 * 365 * 86_400.0  # no timer runs longer, so that every due time is a sane number


class Folding:
    """One fact being folded: collects what it newly requires."""

    __slots__ = ("at_ms", "decisions", "run", "timers")

    def __init__(self, run: Run, at_ms: int) -> None:
        self.run = run
        self.at_ms = at_ms
        self.decisions: list[Decision] = []
        self.timers: list[Timer] = []

    def change(self) -> Change:
        """Say what is newly required."""
        return Change(tuple(self.decisions), tuple(self.timers))

    def decide(self, decision: Decision) -> None:
        """Owe a decision from now on."""
        self.run.owed[decision.id] = decision
        self.decisions.append(decision)

    def arm(self, key: TimerKey, after_s: float | None) -> None:
        """Set a timer, or set it anew; None sets none."""
        if after_s is None:
            return
        due_ms = self.at_ms + int(min(after_s, LONGEST_S) * 1000)
        self.run.timers[key] = due_ms
        self.timers.append(Timer(key, due_ms))

    def disarm(self, step: StepState) -> None:
        """Take away the timers of a step's current attempt."""
        timers = self.run.timers
        if timers:
            for kind in (TimerKind.QUEUE, TimerKind.RUN, TimerKind.HEARTBEAT, TimerKind.RETRY):
                timers.pop(TimerKey(kind, step.spec.id, step.attempt), None)


def skip_id(run_id: str, step_id: str) -> str:
    """Id of the decision that a step will not run."""
    return f"{run_id}/{step_id}/{DecisionKind.SKIP.value}"


def reported(fact: StepDone) -> ErrorInfo:
    """Make up the error of an attempt whose agent gave none."""
    return ErrorInfo(
        code=fact.outcome.value, message=f"the agent reported {fact.outcome.value}", retryable=True
    )


DEADLINE_EXCEEDED = ErrorInfo(
    code="deadline_exceeded",
    message="the run was not done by its deadline, or within its timeout_s; give it more time",
)
_TIMEOUTS = {
    TimerKind.QUEUE: "no instance of the agent started the step",
    TimerKind.RUN: "the agent did not finish the step",
    TimerKind.HEARTBEAT: "the agent gave no sign of life",
}


def reject(folding: Folding, problems: Sequence[Problem]) -> None:
    """End a run that cannot begin."""
    folding.run.problems = list(problems)
    first = str(problems[0]) if problems else "no plan could be made"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    error = ErrorInfo(code="plan_rejected", message=first + more)
    _end(folding, RunEvent.PLAN_REJECTED, RunOutcome.REJECTED, error)


def confirm_release(run: Run, step: StepState) -> None:
    """An attempt that an agent has touched was published, whatever the log says of it yet."""
    run.owed.pop(attempt_id(run.run_id, step.spec.id, step.attempt, "step_ready"), None)


def arm_deadline(folding: Folding) -> None:
    """Set the timer of the whole run, where it has a limit."""
    options = folding.run.options
    limits = [options.timeout_s] if options.timeout_s is not None else []
    if options.deadline is not None:
        limits.append(max(options.deadline.timestamp() - folding.at_ms / 1000, 0.0))
    folding.arm(TimerKey(TimerKind.DEADLINE), min(limits, default=None))


def step_timer(folding: Folding, kind: TimerKind, step: StepState) -> None:
    """Do what a step's timer stands for: try again, or give an attempt up."""
    if kind is TimerKind.RETRY:
        folding.run.move(step, StepEvent.RETRY_DUE)
        return
    confirm_release(folding.run, step)
    folding.disarm(step)
    _stop(folding, step)
    fail(folding, step, _timeout(folding.run, step, kind))


def _timeout(run: Run, step: StepState, kind: TimerKind) -> ErrorInfo:
    setting = f"{kind.value}_s"
    limit_s = getattr(run.timeouts(step), setting) or 0
    return ErrorInfo(
        code=f"{kind.value}_timeout",
        message=f"{_TIMEOUTS[kind]} within {limit_s:g} s (timeouts.{setting})",
        retryable=True,
    )


def fail(folding: Folding, step: StepState, error: ErrorInfo) -> None:
    """Try again later, or do what the failure policy says."""
    run = folding.run
    policy = run.retry_policy(step)
    step.error = error
    if run.phase is RunPhase.RUNNING and error.retryable and step.attempt < policy.attempts:
        run.move(step, StepEvent.FAILED_FOR_NOW)
        wait_s = min(policy.initial_s * policy.factor ** (step.attempt - 1), policy.max_s)
        wait_s = max(wait_s, min(error.retry_after_s or 0, LONGEST_RETRY_S))
        folding.arm(TimerKey(TimerKind.RETRY, step.spec.id, step.attempt), wait_s)
        return
    on_failure = run.failure_policy(step)
    if run.phase is RunPhase.RUNNING and on_failure is FailurePolicy.STOP:
        run.move(step, StepEvent.FAILED_FOR_GOOD)
        failed = ErrorInfo(
            code=error.code, message=f"step {step.spec.id!r} failed: {error.message}"
        )
        turn_round(folding, RunEvent.STEP_FAILED, RunOutcome.FAILED, failed)
    elif on_failure is FailurePolicy.SKIP_DEPENDENTS:
        run.move(step, StepEvent.FAILED_FOR_GOOD)
        _skip_dependents(folding, step)
    else:
        settle(folding, step, StepEvent.FAILED_FOR_GOOD)


def settle(folding: Folding, step: StepState, event: StepEvent) -> None:
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


def _skip_dependents(folding: Folding, failed: StepState) -> None:
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


def turn_round(
    folding: Folding, event: RunEvent, outcome: RunOutcome, error: ErrorInfo | None
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


def _stop(folding: Folding, step: StepState) -> None:
    """Tell whoever has an attempt that its time is over."""
    stop = attempt_id(folding.run.run_id, step.spec.id, step.attempt, DecisionKind.STOP.value)
    folding.decide(Decision(stop, DecisionKind.STOP, step.spec.id, step.attempt, "timeout"))


def give_up_waiting(folding: Folding) -> None:
    """End a stopping run although attempts are still out."""
    run = folding.run
    for step in run.order:
        if step.phase in OUT:
            run.move(step, StepEvent.STOPPED)
    _end(folding, RunEvent.GRACE_PASSED, run.outcome, run.error)


def advance(folding: Folding) -> None:
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
    folding: Folding, event: RunEvent, outcome: RunOutcome | None, error: ErrorInfo | None
) -> None:
    run = folding.run
    if outcome is None:
        raise InvariantBroken(f"run {run.run_id} ends without an outcome")
    run.turn(event)
    run.outcome, run.error, run.ended_ms = outcome, error, folding.at_ms
    run.timers.clear()
    folding.decide(Decision(message_id(run.run_id, DecisionKind.END.value), DecisionKind.END))
