"""What follows from a fact: who settles, who is released, when a run turns round or ends.

Called by the fold, one fact at a time; whatever is newly required is collected in a `Folding`. What
is particular to undoing is in `saga`, to approvals and signals in `asking`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from starlings.messages.amendments import Amendment
from starlings.messages.errors import ErrorInfo, Problem, StepFailed
from starlings.messages.facts import RunOutcome, TimerKind
from starlings.messages.ids import attempt_id
from starlings.messages.plan import FailurePolicy
from starlings.messages.steps import StepDone

from . import amending, asking, budget, mapping, replanning, rewinding, saga, skipping
from .context import as_text, shorten
from .folding import Folding, skip_id, whole_run_id
from .retries import may_retry, next_level, variant_for, wait_s
from .state import Decision, DecisionKind, ReplanPhase, Run, StepState, TimerKey, Undo
from .transitions import OUT, Phase, RunEvent, RunPhase, StepEvent, UndoPhase
from .turning import fail_round, forget_amendment, interrupt, stop_attempt, turn_round


def reported(fact: StepDone) -> ErrorInfo:
    """Make up the error of an attempt whose agent gave none."""
    return ErrorInfo(
        code=fact.outcome.value, message=f"the agent reported {fact.outcome.value}", retryable=True
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
    if run.owed:
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
    if kind is TimerKind.WAIT:
        answer(folding, step, *asking.in_default(step))
        return
    confirm_release(folding.run, step)
    folding.disarm(step)
    stop_attempt(folding, step, "timeout")
    step.lost = kind is not TimerKind.QUEUE
    fail(folding, step, _timeout(folding.run, step, kind))


def answer(folding: Folding, step: StepState, output: Any, error: ErrorInfo | None) -> None:
    """End a step that waited for a word."""
    folding.disarm(step)
    asking.stop_asking(folding.run, step)
    step.output, step.summary = output, shorten(as_text(output))
    if error is None:
        settle(folding, step, StepEvent.SUCCEEDED)
    else:
        fail(folding, step, error)


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
    tries = step.attempt - step.reopened_at
    asked = step.phase is Phase.ASKING
    again = may_retry(policy, tries, error, level=step.level) and not asked and not step.rewinding
    if run.phase is RunPhase.RUNNING and again:
        run.move(step, StepEvent.FAILED_FOR_NOW)
        step.level = next_level(policy, step.level, error)
        draw = attempt_id(run.run_id, step.spec.id, step.attempt, TimerKind.RETRY.value)
        pause_s = wait_s(policy, tries, error, draw=draw)
        folding.arm_step(TimerKind.RETRY, step, pause_s)
        return
    if _give_up(folding, step, error):
        _pass_on(folding, step)


def _give_up(folding: Folding, step: StepState, error: ErrorInfo) -> bool:
    """Fail a step for good; say whether what depends on it goes on all the same."""
    run = folding.run
    step.error = error
    on_failure = replanning.policy_after(run, step)
    run.move(step, StepEvent.FAILED_FOR_GOOD)
    if run.phase is RunPhase.COMPENSATING or step.rewinding:
        saga.note_settled(folding, step)
    elif run.phase is not RunPhase.RUNNING:
        return False
    elif on_failure is FailurePolicy.REPLAN:
        replanning.want(run, error.message, step, failed=True)
    elif on_failure in (FailurePolicy.STOP, FailurePolicy.COMPENSATE):
        fail_round(folding, step, error, stops=on_failure is FailurePolicy.STOP)
    elif on_failure is FailurePolicy.SKIP_DEPENDENTS and step.item_of is None:
        _skip_dependents(folding, step)
    else:
        return True
    return False


def settle(folding: Folding, step: StepState, event: StepEvent) -> None:
    """Settle a step and let those that waited for it go on."""
    run = folding.run
    run.move(step, event)
    if run.phase is RunPhase.COMPENSATING or step.rewinding:
        saga.note_settled(folding, step)
    elif run.phase is RunPhase.RUNNING:
        _pass_on(folding, step)


def succeed(
    folding: Folding, step: StepState, amendment: Amendment | None, *, replan: str | None = None
) -> None:
    """Settle a step that is done; one that wants the plan amended, when that is decided."""
    run = folding.run
    goes_on = run.phase is RunPhase.RUNNING and not step.rewinding
    if replan is not None and goes_on:
        replanning.want_by_word(folding, replan, step)
    if amendment is None or not goes_on:
        settle(folding, step, StepEvent.SUCCEEDED)
    elif problems := amending.amendment_problems(run, step, amendment):
        _reject(folding, step, problems)
        settle(folding, step, StepEvent.SUCCEEDED)
    else:
        step.amendment = amendment
        run.move(step, StepEvent.AMENDMENT_PROPOSED)
        _decide_amendment(folding, step, DecisionKind.AMEND)


def accept(folding: Folding, step: StepState) -> None:
    """Amend the plan, unless it has gone on too far, and settle the step that asked for it."""
    amendment = step.amendment or Amendment()
    forget_amendment(folding.run, step)
    problems = amending.amendment_problems(folding.run, step, amendment)
    if problems:
        _reject(folding, step, problems)
    opened = [] if problems else amending.amend(folding.run, step, amendment)
    settle(folding, step, StepEvent.SUCCEEDED)
    open_steps(folding, opened)


def refuse(folding: Folding, step: StepState) -> None:
    """Settle a step whose amendment was rejected: the run goes on as it was planned."""
    forget_amendment(folding.run, step)
    settle(folding, step, StepEvent.SUCCEEDED)


def _reject(folding: Folding, step: StepState, problems: Sequence[Problem]) -> None:
    step.rejected = list(problems)
    _decide_amendment(folding, step, DecisionKind.REJECT)


def _decide_amendment(folding: Folding, step: StepState, kind: DecisionKind) -> None:
    ident = attempt_id(folding.run.run_id, step.spec.id, step.attempt, kind.value)
    folding.decide(Decision(ident, kind, step.spec.id, step.attempt))


def _pass_on(folding: Folding, settled: StepState) -> None:
    """Let everything go on that waited for a step; what settles by that is passed on as well."""
    run = folding.run
    todo = [settled]
    while todo:
        settled = todo.pop()
        if settled.item_of is not None and _joins(folding, run.order[settled.item_of]):
            todo.append(run.order[settled.item_of])
        for index in settled.dependents:
            dependent = run.order[index]
            dependent.missing -= 1
            if not dependent.missing and _settles(folding, dependent):
                todo.append(dependent)


def _joins(folding: Folding, step: StepState) -> bool:
    """Go on with the items of a step, one of which has settled; True where that was the last."""
    return step.phase is Phase.MAPPING and _go_on_mapping(folding, step)


def _go_on_mapping(folding: Folding, step: StepState) -> bool:
    """Begin further items, or settle the step where there are none left; True where it settles."""
    run = folding.run
    if step.open_items:
        mapping.begin_items(run, step)
        return False
    error = mapping.join(run, step)
    if error is not None:
        return _give_up(folding, step, error)
    run.move(step, StepEvent.SUCCEEDED)
    return True


def undo_failed(folding: Folding, undo: Undo) -> None:
    """Undo the whole run, where a part of it that is to be done otherwise cannot be undone."""
    step = folding.run.order[undo.step]
    if undo.phase is UndoPhase.FAILED and step.rewinding:
        why = undo.error.message if undo.error else "no reason given"
        message = f"step {step.spec.id!r} could not be undone to be planned anew: {why}"
        error = ErrorInfo(code="compensation_failed", message=message)
        turn_round(folding, RunEvent.TURNED_ROUND, RunOutcome.FAILED, error)


def open_steps(folding: Folding, steps: Sequence[StepState]) -> None:
    """Let steps begin that wait for nothing (any more)."""
    for step in steps:
        if not step.missing and step.item_of is None and _settles(folding, step):
            _pass_on(folding, step)


def _settles(folding: Folding, step: StepState) -> bool:
    """Make a step ready whose dependencies have settled; True where that settles it at once."""
    run = folding.run
    if step.phase is not Phase.WAITING or run.phase is not RunPhase.RUNNING or step.rewinding:
        return False
    try:
        skips = skipping.is_skipped(run, step)
        if not skips and step.spec.foreach is not None:
            mapping.lay_out_items(run, step, step.spec.foreach)
    except StepFailed as error:
        mapping.drop_items(run, step)
        return _give_up(folding, step, ErrorInfo(code=error.code, message=str(error)))
    if not skips and step.spec.foreach is not None:
        run.move(step, StepEvent.LIST_KNOWN)
        return _go_on_mapping(folding, step)
    if not skips:
        run.move(step, StepEvent.DEPENDENCIES_SETTLED)
        return False
    mapping.drop_items(run, step)
    run.move(step, StepEvent.CONDITION_FALSE)
    folding.decide(Decision(skip_id(run, step.spec.id), DecisionKind.SKIP, step.spec.id))
    return True


def _skip_dependents(folding: Folding, failed: StepState) -> None:
    """Skip everything that depends on a failed step, directly or through others."""
    run = folding.run
    todo = list(failed.dependents)
    while todo:
        step = run.order[todo.pop()]
        if step.phase is not Phase.WAITING:
            continue
        run.move(step, StepEvent.DEPENDENCY_FAILED)
        step.because = failed.because or failed.spec.id
        folding.decide(
            Decision(
                skip_id(run, step.spec.id),
                DecisionKind.SKIP,
                step.spec.id,
                because=step.because,
            )
        )
        todo.extend(step.dependents)


def give_up_waiting(folding: Folding) -> None:
    """Settle the attempts that are still out, although nothing was heard of them."""
    run = folding.run
    part = run.phase is RunPhase.RUNNING  # then only some are being stopped, to be rewound
    given_up = [s for s in run.order if s.phase in OUT and (s.rewinding or not part)]
    for step in given_up:
        step.lost = True  # what it did is not known
    for step in given_up:
        folding.disarm(step)  # a start that was told while the run stops has set its limits
        settle(folding, step, StepEvent.STOPPED)


def advance(folding: Folding) -> None:
    """Release what may go out; end the run when nothing is left."""
    run = folding.run
    if run.replans:
        _go_on_replanning(folding)
    saga.release(folding)
    if run.phase is RunPhase.RUNNING and not run.paused:
        _release(folding)
        saga.release(folding)  # that may have turned it round
    if run.unsettled == 0 and run.phase in _ENDS and not run.replans and saga.is_over(run):
        outcome = saga.outcome(run, run.outcome or _natural_outcome(run))
        _end(folding, _ENDS[run.phase], outcome, run.error or _first_error(run))


def _go_on_replanning(folding: Folding) -> None:
    """Apply an amendment once what it invalidates is undone; ask for the next."""
    run = folding.run
    if rewinding.is_over(run):
        opened = rewinding.finish(run)
        for name in dict.fromkeys(d for step in opened for d in step.spec.depends_on):
            _skip_behind(folding, run.steps[name])
        open_steps(folding, opened)
    while run.replans and run.replans[0].phase is ReplanPhase.WANTED and not run.amending:
        if run.options.budget is not None and (error := budget.exceeded(run, folding.at_ms)):
            interrupt(folding, RunEvent.BUDGET_EXCEEDED, RunOutcome.FAILED, error)
            return
        replanning.ask(folding)


def _skip_behind(folding: Folding, before: StepState) -> None:
    """Skip again what depends on a step that was not done again, and that has failed."""
    failed = before.phase is Phase.FAILED
    skips = folding.run.failure_policy(before) is FailurePolicy.SKIP_DEPENDENTS
    if (failed and skips) or (before.phase is Phase.SKIPPED and before.because is not None):
        _skip_dependents(folding, before)


_ENDS = {
    RunPhase.RUNNING: RunEvent.ALL_SETTLED,
    RunPhase.STOPPING: RunEvent.ALL_SETTLED,
    RunPhase.COMPENSATING: RunEvent.ALL_UNDONE,
}


def _release(folding: Folding) -> None:
    run = folding.run
    limit = run.options.max_parallel
    held = run.amending or run.replans
    while run.ready and not held and (limit is None or run.out < limit):
        if run.options.budget is not None and (error := budget.exceeded(run, folding.at_ms)):
            interrupt(folding, RunEvent.BUDGET_EXCEEDED, RunOutcome.FAILED, error)
            return
        step = run.order[heapq.heappop(run.ready)]
        if step.spec.approval or step.spec.signal:
            _ask(folding, step)
            continue
        run.move(step, StepEvent.PLACE_FREE)
        if step.lost:
            step.unheard.append(step.attempt)
        step.attempt += 1
        step.lost = False
        step.variant = variant_for(run, step)
        ident = attempt_id(run.run_id, step.spec.id, step.attempt, "step_ready")
        folding.decide(Decision(ident, DecisionKind.RELEASE, step.spec.id, step.attempt))
        folding.arm_step(TimerKind.QUEUE, step, run.timeouts(step).queue_s)


def _ask(folding: Folding, step: StepState) -> None:
    asking.ask(folding, step)
    for payload in asking.kept_signal(folding.run, step):
        answer(folding, step, payload, None)


def _natural_outcome(run: Run) -> RunOutcome:
    phases = {step.phase for step in run.order}
    if Phase.FAILED not in phases:  # what is skipped without a failure, was not to be done
        return RunOutcome.COMPLETED
    return RunOutcome.PARTIAL if Phase.DONE in phases else RunOutcome.FAILED


def _first_error(run: Run) -> ErrorInfo | None:
    return next((step.error for step in run.order if step.phase is Phase.FAILED), None)


def _end(folding: Folding, event: RunEvent, outcome: RunOutcome, error: ErrorInfo | None) -> None:
    run = folding.run
    run.turn(event)
    run.outcome, run.error, run.ended_ms = outcome, error, folding.at_ms
    run.timers.clear()
    folding.decide(Decision(whole_run_id(run, DecisionKind.END), DecisionKind.END))
