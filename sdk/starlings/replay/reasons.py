"""Why the core decided something, in words, from the state right after it did."""

from __future__ import annotations

from collections.abc import Callable

from starlings.choreography import Decision, DecisionKind, Run, StepState, abandoned
from starlings.choreography.skipping import skip_reason
from starlings.messages import Message, RetryRequested, TimerFired, TimerKind

_NAMED = 5


def reason_for(run: Run, decision: Decision, fact: Message) -> str:
    """Say why a decision was made when this fact was read."""
    if decision.kind in _OF_A_RUN:
        return _OF_A_RUN[decision.kind](run, decision)
    step = run.steps.get(decision.step_id or "")
    if step is None:
        return _replan(run, decision)
    if decision.kind is DecisionKind.RELEASE:
        return _release(run, step, decision, fact)
    return _OF_A_STEP[decision.kind](run, step)


def _release(run: Run, step: StepState, decision: Decision, fact: Message) -> str:
    if isinstance(fact, RetryRequested):
        return "the run was asked to go on"
    if isinstance(fact, TimerFired) and fact.kind is TimerKind.RETRY:
        failed = f", after: {step.error.message}" if step.error is not None else ""
        return f"attempt {decision.attempt}: its back-off is over{failed}"
    if decision.attempt > step.reopened_at + 1 and step.error is not None:
        return f"attempt {decision.attempt}, after: {step.error.message}"
    if step.item_of is not None:
        whole = run.order[step.item_of].spec.id
        return f"item {step.item} of {whole}"
    needs = list(dict.fromkeys(step.spec.depends_on))
    if not needs:
        return "it depends on nothing"
    told = ", ".join(needs[:_NAMED])
    more = f" and {len(needs) - _NAMED} more" if len(needs) > _NAMED else ""
    return f"all that it depends on has settled: {told}{more}"


def _undo(run: Run, decision: Decision) -> str:
    again = f"try {decision.number}: " if decision.number > 1 else ""
    return again + (decision.because or run.reason)


def _ask(_run: Run, step: StepState) -> str:
    return step.spec.approval.question if step.spec.approval else step.spec.task


def _amend(_run: Run, step: StepState) -> str:
    return (step.amendment.reason if step.amendment else "") or "its result amends the plan"


def _reject(_run: Run, step: StepState) -> str:
    return "; ".join(problem.message for problem in step.rejected)


def _end(run: Run, _decision: Decision) -> str:
    if run.problems:
        return "; ".join(problem.message for problem in run.problems[:_NAMED])
    if run.error is not None:
        return run.error.message
    return run.reason or "every step has settled"


def _replan(run: Run, decision: Decision) -> str:
    if decision.kind is DecisionKind.REJECT:
        problems = run.replans_refused.get(decision.number, [])
        return "; ".join(problem.message for problem in problems)
    replan = next((r for r in run.replans if r.number == decision.number), None)
    if replan is None:
        return ""
    if decision.kind is DecisionKind.AMEND:
        return (replan.amendment.reason if replan.amendment else "") or "the planner's answer"
    return replan.text


_OF_A_RUN: dict[DecisionKind, Callable[[Run, Decision], str]] = {
    DecisionKind.END: _end,
    DecisionKind.STOP: lambda run, decision: decision.because or run.reason,
    DecisionKind.UNDO: _undo,
    DecisionKind.BURY: lambda run, decision: abandoned(run, decision).message,
}
_OF_A_STEP: dict[DecisionKind, Callable[[Run, StepState], str]] = {
    DecisionKind.SKIP: skip_reason,
    DecisionKind.ASK: _ask,
    DecisionKind.AMEND: _amend,
    DecisionKind.REJECT: _reject,
}
