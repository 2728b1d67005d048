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
from itertools import islice
from typing import Any, TypeAlias

from starlings.messages.amendments import AmendmentRejected, PlanAmended
from starlings.messages.base import Message
from starlings.messages.commands import (
    ApprovalGiven,
    CancelRequested,
    PauseRequested,
    ReplanRequested,
    ResumeRequested,
    RetryRequested,
    SignalReceived,
)
from starlings.messages.compensations import CompensationDone
from starlings.messages.errors import ErrorInfo, Problem
from starlings.messages.facts import PlanCreated, PlanRejected, RunOutcome, TimerFired, TimerKind
from starlings.messages.forking import RunForked
from starlings.messages.ids import attempt_id, replan_id
from starlings.messages.plan import RunOptions
from starlings.messages.replanning import AmendmentProposed
from starlings.messages.steps import StepDone, StepOutcome, StepProgress, StepStarted

from . import commands, replanning, saga
from .confirming import CONFIRMATIONS, confirm
from .consequences import (
    accept,
    advance,
    arm_deadline,
    confirm_release,
    fail,
    give_up_waiting,
    open_steps,
    refuse,
    reject,
    reported,
    settle,
    step_timer,
    succeed,
    undo_failed,
)
from .context import as_text, shorten
from .folding import DEADLINE_EXCEEDED, Folding
from .inheriting import inherit, inheritance_problems
from .state import (
    Change,
    DecisionKind,
    Ignored,
    Outcome,
    ReplanPhase,
    Run,
    StepState,
    TimerKey,
    Undo,
)
from .transitions import OUT, Phase, RunEvent, RunPhase, StepEvent, UndoPhase
from .turning import interrupt
from .validation import PROBLEMS_LISTED, check_plan

Beginning: TypeAlias = PlanCreated | PlanRejected | RunForked


def begin(
    fact: Beginning,
    *,
    offset: int,
    at_ms: int,
    cancel: CancelRequested | None = None,
) -> tuple[Run, Change]:
    """Begin a run with the first plan (a fork, or a rejection) in the log, at `offset`.

    A `cancel` that came before the plan ends the run at once: nothing is released.
    """
    options = RunOptions() if isinstance(fact, PlanRejected) else fact.options
    run = Run(
        run_id=fact.run_id,
        options=options,
        plan_offset=offset,
        began_ms=at_ms,
        opened_ms=at_ms,
        request=fact.request,
        tags=dict(fact.tags),
    )
    folding = Folding(run, at_ms)
    if isinstance(fact, PlanRejected):
        reject(folding, fact.problems)
        return run, folding.change()
    if problems := _problems(fact):  # whoever published it, did not validate it
        reject(folding, problems)
        return run, folding.change()
    _lay_out(run, fact)
    if cancel is not None:
        commands.cancel_requested(folding, cancel)
        return run, folding.change()
    arm_deadline(folding)
    open_steps(folding, run.order)
    advance(folding)
    return run, folding.change()


def _problems(fact: PlanCreated | RunForked) -> list[Problem]:
    problems = check_plan(fact.plan, options=fact.options)
    if isinstance(fact, PlanCreated) or problems:
        return problems
    return list(islice(inheritance_problems(fact), PROBLEMS_LISTED))


def _lay_out(run: Run, fact: PlanCreated | RunForked) -> None:
    run.lay_out(fact.plan)
    if isinstance(fact, PlanCreated):
        run.add_usage(fact.usage)
    else:
        run.forked_from = (fact.from_run, fact.from_offset)
        inherit(run, fact.inherited)


def fold(run: Run, fact: Message, *, at_ms: int) -> Outcome:
    """Fold one fact into a run (in place); say what it newly requires, or why it was ignored."""
    handler = _HANDLERS.get(type(fact))
    if handler is None:
        return Ignored(f"{fact.NAME} is not a fact of a run")
    if run.phase is RunPhase.ENDED:
        return Ignored("the run has ended")
    return handler(Folding(run, at_ms), fact)


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
    _has_started(folding, step)
    return folding.change()


def _has_started(folding: Folding, step: StepState) -> None:
    folding.disarm(step)
    folding.run.move(step, StepEvent.STARTED)
    confirm_release(folding.run, step)
    limits = folding.run.timeouts(step)
    folding.arm_step(TimerKind.RUN, step, limits.run_s)
    folding.arm_step(TimerKind.HEARTBEAT, step, limits.heartbeat_s)


def _step_progress(folding: Folding, fact: StepProgress) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return step
    if step.phase is Phase.RELEASED:  # its start has not been told yet, or got lost
        _has_started(folding, step)
        return folding.change()
    key = TimerKey(TimerKind.HEARTBEAT, step.spec.id, step.attempt)
    if key not in folding.run.timers:
        return Ignored("nobody waits for a sign of life")
    folding.arm_step(TimerKind.HEARTBEAT, step, folding.run.timeouts(step).heartbeat_s)
    return folding.change()


def _step_done(folding: Folding, fact: StepDone) -> Outcome:
    step = _attempt(folding, fact)
    if isinstance(step, Ignored):
        return _late(folding, fact, step)
    run = folding.run
    run.add_usage(fact.usage)
    confirm_release(run, step)
    folding.disarm(step)
    if fact.outcome is StepOutcome.OK:
        step.output, step.error = fact.output, None
        step.summary = fact.summary if fact.summary is not None else shorten(as_text(fact.output))
        step.compensation = step.spec.compensate or fact.compensation
        succeed(folding, step, fact.amendment, replan=fact.replan)
    elif _is_stopping(run, step) and fact.outcome is StepOutcome.CANCELLED:
        step.lost = fact.compensation is not None  # stopped at work: it may have taken effect
        step.compensation = step.spec.compensate or fact.compensation
        settle(folding, step, StepEvent.STOPPED)
    else:
        fail(folding, step, fact.error or reported(fact))
    advance(folding)
    return folding.change()


def _is_stopping(run: Run, step: StepState) -> bool:
    """Whether attempts have been told to stop, so that they may say that they have."""
    return run.phase is not RunPhase.RUNNING or step.rewinding


def _late(folding: Folding, fact: StepDone, why: Ignored) -> Outcome:
    """Undo what a result tells of that comes too late to count."""
    step = folding.run.steps.get(fact.step_id)
    undoable = fact.outcome is StepOutcome.OK or fact.compensation is not None
    if step is None or not undoable or not saga.late(folding, step, fact):
        return why
    folding.run.add_usage(fact.usage)
    advance(folding)
    return folding.change()


def _compensation_done(folding: Folding, fact: CompensationDone) -> Outcome:
    run = folding.run
    undo = run.undos.get((fact.step_id, fact.attempt))
    if undo is None:
        return Ignored("nothing of that attempt is to be undone")
    why = _says_nothing(run, undo, fact)
    if why is not None:
        return Ignored(why)
    step = run.steps[fact.step_id]
    run.add_usage(fact.usage)
    saga.confirm_release(run, step, undo)
    if fact.outcome is StepOutcome.OK:
        saga.succeed(folding, step, undo, number=fact.number)
    else:
        error = fact.error or ErrorInfo(
            code=fact.outcome.value,
            message=f"the agent reported {fact.outcome.value}",
            retryable=True,
        )
        saga.fail(folding, step, undo, error)
        undo_failed(folding, undo)
    advance(folding)
    return folding.change()


def _says_nothing(run: Run, undo: Undo, fact: CompensationDone) -> str | None:
    """Say why the end of a try changes nothing; None where it counts.

    A failure is of its own try only. A success is one however late it comes: also of a try that was
    given up for its time, or of a step that was abandoned, until the end of the run is decided.
    """
    if not 1 <= fact.number <= undo.number:
        return "no such try" if fact.number < 1 else "try not made yet"
    if undo.phase is UndoPhase.UNDONE:
        return "the undoing is undone"
    if run.phase is RunPhase.ENDING:
        return "the run is ending"
    at_work = fact.number == undo.number and undo.phase is UndoPhase.RELEASED
    if at_work or fact.outcome is StepOutcome.OK:
        return None
    return "stale try" if fact.number < undo.number else f"the undoing is {undo.phase.value}"


def _timer_fired(folding: Folding, fact: TimerFired) -> Outcome:
    key = TimerKey(fact.kind, fact.step_id, fact.attempt or 0)
    due_ms = folding.run.timers.get(key)
    if due_ms is None:
        return Ignored("no such timer runs")
    if fact.due_ms < due_ms:
        return Ignored("the timer was set anew")
    del folding.run.timers[key]
    if fact.kind is TimerKind.DEADLINE:
        interrupt(folding, RunEvent.DEADLINE_PASSED, RunOutcome.FAILED, DEADLINE_EXCEEDED)
    elif fact.kind is TimerKind.SETTLE:
        give_up_waiting(folding)
    elif fact.kind is TimerKind.REPLAN:
        replanning.unanswered(folding)
    elif fact.kind in saga.UNDO_TIMERS:
        _undo_timer(folding, fact.kind, folding.run.undos[fact.step_id or "", key.attempt])
    else:
        step_timer(folding, fact.kind, folding.run.steps[fact.step_id or ""])
    advance(folding)
    return folding.change()


def _undo_timer(folding: Folding, kind: TimerKind, undo: Undo) -> None:
    if kind is TimerKind.UNDO_RETRY:
        saga.retry_due(folding, undo)
    else:
        saga.timed_out(folding, folding.run.order[undo.step], undo)
        undo_failed(folding, undo)


def _amendment_proposed(folding: Folding, fact: AmendmentProposed) -> Outcome:
    replan = replanning.current(folding.run, fact.number, ReplanPhase.ASKED)
    if replan is None:
        return Ignored("no other plan of that number is asked for")
    folding.run.add_usage(fact.usage)
    replan.amendment = fact.amendment
    if fact.amendment is None:
        replanning.refuse(folding, replan, fact.problems)
    else:
        replanning.propose(folding, replan)
    advance(folding)
    return folding.change()


def _plan_amended(folding: Folding, fact: PlanAmended) -> Outcome:
    if fact.replan is not None:
        replan = replanning.current(folding.run, fact.replan, ReplanPhase.JUDGED)
        if replan is None:
            return Ignored("no such amendment is being looked at")
        replanning.accept(folding, replan)
        advance(folding)
        return folding.change()
    step = folding.run.steps.get(fact.step_id or "")
    if step is None or step.phase is not Phase.AMENDING or step.attempt != fact.attempt:
        return Ignored("no such amendment is being looked at")
    accept(folding, step)
    advance(folding)
    return folding.change()


def _replan_rejected(folding: Folding, fact: AmendmentRejected, number: int) -> Outcome:
    replan = replanning.current(folding.run, number, ReplanPhase.JUDGED)
    if replan is None:
        folding.run.replans_refused.pop(number, None)
        return confirm(
            folding.run,
            replan_id(fact.run_id, number, DecisionKind.REJECT.value),
            at_ms=folding.at_ms,
        )
    replanning.close(folding, replan, fact.problems)
    advance(folding)
    return folding.change()


def _amendment_rejected(folding: Folding, fact: AmendmentRejected) -> Outcome:
    if fact.replan is not None:
        return _replan_rejected(folding, fact, fact.replan)
    name = fact.step_id or ""
    step = folding.run.steps.get(name)
    if step is None or step.phase is not Phase.AMENDING or step.attempt != fact.attempt:
        reject = DecisionKind.REJECT.value
        ident = attempt_id(fact.run_id, name, fact.attempt, reject)
        return confirm(folding.run, ident, at_ms=folding.at_ms)
    refuse(folding, step)
    advance(folding)
    return folding.change()


def _plan_again(folding: Folding, fact: Message) -> Outcome:
    del folding, fact
    return Ignored("the run has its plan: the first one in the log counts")


_HANDLERS: dict[type[Message], Callable[[Folding, Any], Outcome]] = {
    AmendmentProposed: _amendment_proposed,
    PlanAmended: _plan_amended,
    AmendmentRejected: _amendment_rejected,
    PlanCreated: _plan_again,
    PlanRejected: _plan_again,
    RunForked: _plan_again,
    StepStarted: _step_started,
    StepProgress: _step_progress,
    StepDone: _step_done,
    TimerFired: _timer_fired,
    CompensationDone: _compensation_done,
    CancelRequested: commands.cancel_requested,
    PauseRequested: commands.pause_requested,
    ResumeRequested: commands.resume_requested,
    ReplanRequested: commands.replan_requested,
    RetryRequested: commands.retry_requested,
    ApprovalGiven: commands.approval_given,
    SignalReceived: commands.signal_received,
    **CONFIRMATIONS,
}
