"""The saga: what was done is undone, in reverse dependency order.

- What undoes a step is said in the plan, or recorded by its agent with the result. A step without
  either has nothing to undo; a step given up without a word of its agent may have been done, so
  what the plan says undoes it all the same (an empty compensation is legal).
  So is one that was stopped at work, as far as its agent can undo what it knows nothing of.
- A step is undone when every step that depends on it has settled and nothing of those is left; so
  what does not depend on each other is undone side by side.
- A result that comes late (its attempt was given up, or its run has turned round) is undone too.
- Each undoing is tried again. One that fails for good is abandoned: it goes to the dead letters,
  and what it depends on stays done; the rest is undone all the same.
- A success counts however late it comes: of a try that was given up for its time, and of a step
  that was abandoned, as long as the end of the run is not decided.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from starlings.messages.errors import ErrorInfo
from starlings.messages.facts import RunOutcome, TimerKind
from starlings.messages.ids import undo_id
from starlings.messages.plan import Compensation, FailurePolicy, Timeouts
from starlings.messages.steps import StepDone, StepOutcome

from . import mapping
from .context import as_text, shorten
from .folding import Folding
from .retries import UNDO_RETRY, may_retry, wait_s
from .state import Decision, DecisionKind, Run, StepState, TimerKey, Undo
from .transitions import Phase, RunPhase, UndoEvent, UndoPhase

TOO_LATE = "its result came too late to count"
UNDO_TIMERS = frozenset({TimerKind.UNDO_RUN, TimerKind.UNDO_RETRY})


# -- what is to be undone ----------------------------------------------------------------------


def undoes_in_the_end(policy: FailurePolicy) -> bool:
    """Say whether a run is undone where nothing else helps."""
    return policy in (FailurePolicy.COMPENSATE, FailurePolicy.REPLAN)


def begin(run: Run, steps: Sequence[StepState]) -> None:
    """Note what is to be undone: of a whole run, or of steps with all that depends on them."""
    for step in steps:
        step.cleared, step.uncleared = False, len(step.items or ())
        step.blockers = 1 if step.item_of is not None and not step.removed else len(step.dependents)
        _note(run, step)


def clear_free(folding: Folding, steps: Sequence[StepState]) -> None:
    """Undo those steps on which nothing depends."""
    clear(folding, [step for step in steps if not step.blockers])


def _is_undone(run: Run, step: StepState) -> bool:
    """Whether a step is undone with others, in their order."""
    return run.phase is RunPhase.COMPENSATING or step.rewinding


def _note(run: Run, step: StepState) -> None:
    planned = step.planned_undo(step.attempt)
    compensation = step.compensation or (planned if step.lost else None)
    undoable = step.phase is Phase.DONE or step.lost
    if undoable and compensation is not None and step.attempt not in step.undos:
        undo = _add(run, step, step.attempt, compensation)
        undo.output, undo.summary = step.output, step.summary
    for attempt in sorted(set(step.unheard) - set(step.undos)):
        if (planned := step.planned_undo(attempt)) is not None:
            _add(run, step, attempt, planned)


def _add(run: Run, step: StepState, attempt: int, spec: Compensation) -> Undo:
    undo = Undo(step.index, attempt, spec)
    step.undos.append(attempt)
    run.undos[step.spec.id, attempt] = undo
    return undo


def note_settled(folding: Folding, step: StepState) -> None:
    """A step has settled while its run undoes: what it did is undone as well."""
    _note(folding.run, step)
    if not step.blockers:
        clear(folding, [step])


def late(folding: Folding, step: StepState, fact: StepDone) -> bool:
    """Undo what nobody waits for any more; say whether there is something to undo.

    Either a result, or the word that an attempt was stopped at work and may have taken effect.
    """
    run = folding.run
    compensation = step.planned_undo(fact.attempt) or fact.compensation
    undoes = run.phase is RunPhase.COMPENSATING or (
        run.phase is RunPhase.RUNNING and undoes_in_the_end(run.options.on_failure)
    )
    counted = step.phase in (Phase.DONE, Phase.AMENDING) and fact.attempt == step.attempt
    made = 1 <= fact.attempt <= step.attempt
    if compensation is None or not undoes or counted or not made:
        return False
    undo = run.undos.get((step.spec.id, fact.attempt))
    if undo is not None and undo.phase is not UndoPhase.WAITING:
        return False  # it is being undone without it
    undo = undo or _add(run, step, fact.attempt, compensation)
    if fact.outcome is StepOutcome.OK:
        undo.output = fact.output
        undo.summary = fact.summary if fact.summary is not None else shorten(as_text(fact.output))
    if run.phase is RunPhase.RUNNING or step.cleared:
        run.move_undo(undo, UndoEvent.DEPENDENTS_UNDONE)
    elif not step.blockers:
        clear(folding, [step])
    return True


def clear(folding: Folding, steps: list[StepState]) -> None:
    """Undo steps on which nothing depends any more; go on to what they depend on."""
    run = folding.run
    todo = list(steps)
    while todo:
        step = todo.pop()
        if step.cleared or step.begun:
            continue
        if step.uncleared:  # its items come first, now that nothing depends on their results
            todo.extend(mapping.free_items(run, step))
            continue
        undos = [run.undos[step.spec.id, attempt] for attempt in step.undos]
        for undo in undos:
            if undo.phase is UndoPhase.WAITING:
                run.move_undo(undo, UndoEvent.DEPENDENTS_UNDONE)
        if any(undo.phase is not UndoPhase.UNDONE for undo in undos):
            continue
        step.cleared = True
        run.rewinding -= step.rewinding
        todo.extend(_freed_by(run, step))


def _freed_by(run: Run, step: StepState) -> Iterator[StepState]:
    """Yield what waited for a step to be undone, and for nothing else."""
    if step.removed:  # nothing waits for it
        return
    if step.item_of is not None:
        whole = run.order[step.item_of]
        whole.uncleared -= 1
        if not whole.uncleared:
            yield whole
        return
    for dependency in dict.fromkeys(step.spec.depends_on):
        before = run.steps[dependency]
        if not _is_undone(run, before):
            continue
        before.blockers -= 1
        if not before.blockers:
            yield before


def forget_waiting(run: Run) -> None:
    """Keep what was done: a part that was to be undone is, as far as that has begun."""
    for (name, attempt), undo in list(run.undos.items()):
        if undo.phase is UndoPhase.WAITING:
            del run.undos[name, attempt]
            run.steps[name].undos.remove(attempt)


# -- doing it ----------------------------------------------------------------------------------


def release(folding: Folding) -> None:
    """Release what may be undone, as far as `max_parallel` has places."""
    run = folding.run
    if not run.undo_ready:
        return
    limit = run.options.max_parallel
    while run.undo_ready and (limit is None or run.out < limit):
        index, attempt = heapq.heappop(run.undo_ready)
        step = run.order[-index]
        undo = run.undos[step.spec.id, attempt]
        run.move_undo(undo, UndoEvent.PLACE_FREE)
        undo.number += 1
        ident = _id(run, step, undo, DecisionKind.UNDO.value)
        why = run.reason or _why(run, step)
        folding.decide(Decision(ident, DecisionKind.UNDO, step.spec.id, attempt, why, undo.number))
        folding.arm(TimerKey(TimerKind.UNDO_RUN, step.spec.id, attempt), _limit_s(run, undo))


def _why(run: Run, step: StepState) -> str:
    return f"planned anew: {run.replans[0].text}" if step.rewinding else TOO_LATE


def _limit_s(run: Run, undo: Undo) -> float | None:
    """Say how long a try may take: to wait for its agent, and to be done; None: without end.

    What waits and what is at work looks the same from here, so a try that may work for as long as
    it likes has a limit only where its own timeouts name one.
    """
    limits = undo.spec.timeouts or Timeouts()
    queue_s = limits.queue_s
    if queue_s is None and limits.run_s is not None:
        queue_s = run.options.undo_queue_s
    return None if queue_s is None else queue_s + (limits.run_s or 0)


def _id(run: Run, step: StepState, undo: Undo, name: str) -> str:
    return undo_id(run.run_id, step.spec.id, undo.attempt, undo.number, name)


def confirm_release(run: Run, step: StepState, undo: Undo) -> None:
    """A try that an agent has touched was published, whatever the log says of it yet."""
    run.owed.pop(_id(run, step, undo, DecisionKind.UNDO.value), None)


def succeed(folding: Folding, step: StepState, undo: Undo, *, number: int) -> None:
    """An attempt has been undone, by its latest try or by an earlier one of which no word came."""
    run = folding.run
    _disarm(run, step, undo)
    if undo.phase is UndoPhase.RELEASED and number < undo.number:
        _stop(folding, step, undo, "undone")
    if undo.phase is UndoPhase.READY:
        run.undo_ready.remove((-undo.step, undo.attempt))
        heapq.heapify(run.undo_ready)
    if undo.phase is not UndoPhase.FAILED:  # else its dead letter tells of the error
        undo.error = None
    run.move_undo(undo, UndoEvent.SUCCEEDED)
    if _is_undone(run, step) and not step.blockers:
        clear(folding, [step])


def fail(folding: Folding, step: StepState, undo: Undo, error: ErrorInfo) -> None:
    """Try again later, or abandon it."""
    run = folding.run
    _disarm(run, step, undo)
    undo.error = error
    policy = undo.spec.retry or UNDO_RETRY
    tries = undo.number - undo.reopened_at
    if may_retry(policy, tries, error):
        run.move_undo(undo, UndoEvent.FAILED_FOR_NOW)
        pause_s = wait_s(policy, tries, error, draw=_id(run, step, undo, DecisionKind.UNDO.value))
        folding.arm(TimerKey(TimerKind.UNDO_RETRY, step.spec.id, undo.attempt), pause_s)
        return
    run.move_undo(undo, UndoEvent.FAILED_FOR_GOOD)
    run.burials += 1
    ident = _id(run, step, undo, DecisionKind.BURY.value)
    folding.decide(
        Decision(ident, DecisionKind.BURY, step.spec.id, undo.attempt, number=undo.number)
    )


def timed_out(folding: Folding, step: StepState, undo: Undo) -> None:
    """Stop a try whose time is over."""
    run = folding.run
    confirm_release(run, step, undo)
    _stop(folding, step, undo, "timeout")
    message = "the step was not undone in time (timeouts of its compensation)"
    fail(folding, step, undo, ErrorInfo(code="undo_timeout", message=message, retryable=True))


def _stop(folding: Folding, step: StepState, undo: Undo, why: str) -> None:
    """Tell whoever has the latest try that nobody waits for it."""
    stop = _id(folding.run, step, undo, DecisionKind.STOP.value)
    folding.decide(Decision(stop, DecisionKind.STOP, step.spec.id, undo.attempt, why, undo.number))


def retry_due(folding: Folding, undo: Undo) -> None:
    """The pause before the next try is over."""
    folding.run.move_undo(undo, UndoEvent.RETRY_DUE)


def reopen(folding: Folding, step_id: str | None) -> int:
    """Undo again what was abandoned, of one step or of all; say how many that are."""
    run = folding.run
    chosen = [
        undo
        for (ident, _), undo in run.undos.items()
        if undo.phase is UndoPhase.FAILED and step_id in (None, ident)
    ]
    for undo in chosen:
        undo.reopened_at = undo.number
        run.move_undo(undo, UndoEvent.RETRY_REQUESTED)
    return len(chosen)


def _disarm(run: Run, step: StepState, undo: Undo) -> None:
    for kind in UNDO_TIMERS:
        run.timers.pop(TimerKey(kind, step.spec.id, undo.attempt), None)


# -- the end -----------------------------------------------------------------------------------


def is_over(run: Run) -> bool:
    """Say whether all that can be undone is, and every dead letter is in its place."""
    return not run.undoing and not run.burials


def outcome(run: Run, otherwise: RunOutcome) -> RunOutcome:
    """Say how a run ended, as far as that is decided by what was undone."""
    if any(undo.phase is not UndoPhase.UNDONE for undo in run.undos.values()):
        return RunOutcome.COMPENSATION_FAILED
    if run.phase is RunPhase.COMPENSATING and run.undos and otherwise is RunOutcome.FAILED:
        return RunOutcome.COMPENSATED
    return otherwise
