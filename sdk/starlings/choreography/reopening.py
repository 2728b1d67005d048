"""Going on with a run that has ended: the word that asks for it brings the run along.

A run that has ended may have left its coordinator's memory long ago. Whoever wants it to go on has
read its facts, folded them with this core, and puts the state into `retry_requested`. So the word
alone is enough for every later reader of the log, and `restore_from` has no need to reach back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from starlings.messages.base import Message
from starlings.messages.commands import RetryRequested
from starlings.messages.errors import InvariantBroken
from starlings.messages.facts import (
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOutcome,
    RunSnapshot,
    TimerKind,
)
from starlings.messages.forking import RunForked

from . import mapping, saga, snapshot
from .consequences import advance, open_steps
from .fold import begin, fold
from .folding import Folding
from .state import Change, Ignored, Run, TimerKey
from .transitions import Phase, RunEvent, RunPhase, StepEvent, UndoPhase
from .turning import forget_replans


class Recorded(NamedTuple):
    """A fact with its place in the log."""

    offset: int
    at_ms: int
    fact: Message


def refusal(run: Run, *, step_id: str | None, compensation: bool) -> str | None:
    """Say why a run cannot go on; None where it can."""
    if run.phase is not RunPhase.ENDED:
        return f"the run has not ended, it is {run.phase.value}"
    if step_id is not None and step_id not in run.steps:
        return f"the plan has no step {step_id!r}"
    return _not_to_undo(run, step_id) if compensation else _not_to_do(run, step_id)


def _not_to_undo(run: Run, step_id: str | None) -> str | None:
    abandoned = {ident for (ident, _), u in run.undos.items() if u.phase is UndoPhase.FAILED}
    asked = {step_id} if step_id is not None else abandoned
    return None if abandoned & asked else "no compensation was abandoned there"


def _not_to_do(run: Run, step_id: str | None) -> str | None:
    if any(undo.attempt > run.order[undo.step].rewound_at for undo in run.undos.values()):
        return (
            "what the run did has been undone: send its request again; or, where a step could not "
            "be undone, ask for that compensation"
        )
    if all(step.phase is Phase.DONE or step.passed_over for step in run.order):
        return "the run has no step that is not done"
    done = step_id is not None and run.steps[step_id].phase is Phase.DONE
    return f"the step {step_id!r} is done" if done else None


UNREADABLE = "the run that it brings along cannot be read"
_NO_RUN = (
    InvariantBroken,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
)


def reopen(fact: RetryRequested, *, at_ms: int) -> tuple[Run, Change] | Ignored:
    """Take a run up from its end and go on with it; say why not, where that cannot be.

    Anybody may write to the log, so a state that contradicts itself is ignored, however late that
    shows.
    """
    try:
        return _reopen(fact, at_ms=at_ms)
    except _NO_RUN as error:
        return Ignored(f"{UNREADABLE}: {error!r}")


def _reopen(fact: RetryRequested, *, at_ms: int) -> tuple[Run, Change] | Ignored:
    run = snapshot.load(fact.run_id, fact.plan_offset, fact.state)
    if fact.generation != run.generation + 1:
        return Ignored(f"it is for generation {fact.generation}, the run is {run.generation}")
    why = refusal(run, step_id=fact.step_id, compensation=fact.compensation)
    if why is not None:
        return Ignored(why)
    run.generation = fact.generation
    run.ended_ms, run.paused = 0, False
    run.owed.clear()
    run.burials = 0
    run.timers.clear()
    forget_replans(run)
    run.replans_refused.clear()
    folding = Folding(run, at_ms)
    if fact.compensation:
        turned = bool(run.reason)  # else it kept what it did, but for what came too late
        run.turn(RunEvent.UNDOING_REOPENED if turned else RunEvent.REOPENED)
        run.outcome = _as_it_was(run) if turned else None
        saga.reopen(folding, fact.step_id)
    else:
        run.turn(RunEvent.REOPENED)
        run.outcome, run.error, run.reason = None, None, ""
        run.opened_ms, run.used_before = at_ms, dict(run.usage)
        run.replans_by_steps = 0
        _do_again(folding, fact)
        folding.arm(TimerKey(TimerKind.DEADLINE), run.options.timeout_s)  # not: a date in the past
    advance(folding)
    return run, folding.change()


def _as_it_was(run: Run) -> RunOutcome:
    """Give back the outcome that the run turned round with, before its undoing failed."""
    cancelled = run.error is not None and run.error.code == RunOutcome.CANCELLED.value
    return RunOutcome.CANCELLED if cancelled else RunOutcome.FAILED


def _do_again(folding: Folding, fact: RetryRequested) -> None:
    """Every step that is not done waits again; attempts are counted anew."""
    run = folding.run
    again = [s for s in run.order if s.phase is not Phase.DONE and not s.removed]
    for step in again:
        run.move(step, StepEvent.REOPENED)
        step.reopened_at, step.level = step.attempt, 0
        step.error, step.because, step.inherited = None, None, False
        if step.spec.id == fact.step_id and fact.input is not None:
            step.spec = step.spec.model_copy(update={"input": fact.input})
            mapping.hand_on(run, step)
    run.unsettled = len(again)
    for step in again:
        step.next_item = 0
        step.missing = sum(not run.steps[d].settled for d in set(step.spec.depends_on))
    open_steps(folding, again)


def retell(history: Iterable[Recorded]) -> Run | None:
    """Fold the facts of one run, in the order of the log, across its ends; None: no plan there."""
    run: Run | None = None
    for offset, at_ms, fact in history:
        if isinstance(fact, RetryRequested) and goes_on(run, fact):
            reopened = reopen(fact, at_ms=at_ms)
            run = run if isinstance(reopened, Ignored) else reopened[0]
        elif run is None and isinstance(fact, PlanCreated | PlanRejected | RunForked):
            run, _ = begin(fact, offset=offset, at_ms=at_ms)
        elif run is None and isinstance(fact, RunSnapshot):
            run = snapshot.load(fact.run_id, fact.plan_offset, fact.state)
        elif run is not None and not is_of_the_past(run, fact):
            fold(run, fact, at_ms=at_ms)
    return run


def goes_on(run: Run | None, fact: RetryRequested) -> bool:
    """Say whether a word comes at an end of its run; the first one after each end counts."""
    if run is None:  # its facts are gone: the word alone tells
        return True
    return run.phase is RunPhase.ENDED and fact.generation == run.generation + 1


def is_of_the_past(run: Run, fact: Message) -> bool:
    """Say whether a fact is the end of a generation that was reopened since."""
    return isinstance(fact, RunDone) and fact.generation < run.generation
