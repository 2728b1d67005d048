"""Undoing a part of a run, so that it can be done again or otherwise.

What an amendment invalidates is what it names of the steps that have begun, and everything that
depends on those, directly or through others: nothing else knows of their results. Attempts at work
there are stopped; then all of it is undone in reverse dependency order, as when a whole run is;
then the plan is amended, and the steps wait again. Everything else keeps its results.

A step keeps its name and goes on counting its attempts, so an attempt of before is never taken for
one of after, nor undone twice; what undoes it is what the plan said when it was made.
"""

from __future__ import annotations

from starlings.messages.amendments import Amendment
from starlings.messages.facts import TimerKind
from starlings.messages.ids import attempt_id

from . import amending, mapping, saga
from .folding import Folding, skip_id
from .state import DecisionKind, Replan, ReplanPhase, Run, StepState, TimerKey
from .transitions import OUT, Phase, StepEvent
from .turning import UNDO_GRACE_MS, halt, stop_attempt


def begin(folding: Folding, replan: Replan) -> None:
    """Stop what the amendment invalidates, and begin to undo it."""
    run = folding.run
    replan.phase = ReplanPhase.REWINDING
    part = amending.invalidated(run, replan.amendment or Amendment())
    run.rewinding = len(part)
    run.withdraw(part)
    for step in part:
        step.rewinding = True
        folding.disarm(step)
        _owe_no_more(run, step)
        halt(run, step)
        if step.phase is Phase.READY:
            run.move(step, StepEvent.REPLACED)
        if step.phase in OUT:
            stop_attempt(folding, step, "replanned")
    if any(step.phase in OUT for step in part):
        folding.arm(TimerKey(TimerKind.SETTLE), UNDO_GRACE_MS / 1000)
    saga.begin(run, part)
    saga.clear_free(folding, part)


def _owe_no_more(run: Run, step: StepState) -> None:
    """What has not been published of a step by now, shall not be."""
    release = DecisionKind.RELEASE.value
    run.owed.pop(attempt_id(run.run_id, step.spec.id, step.attempt, release), None)
    run.owed.pop(skip_id(run, step.spec.id), None)


def is_over(run: Run) -> bool:
    """Say whether what is invalidated is undone, and the plan is to be amended now."""
    return bool(run.replans) and (run.replans[0].phase, run.rewinding) == (ReplanPhase.REWINDING, 0)


def finish(run: Run) -> list[StepState]:
    """Amend the plan; return the steps that may wait for nothing now."""
    replan = run.replans.pop(0)
    run.timers.pop(TimerKey(TimerKind.SETTLE), None)
    amendment = replan.amendment or Amendment()
    part = [step for step in run.order if step.rewinding]
    for step in part:
        _reset(run, step, replan.number)
    changed = amending.amend(run, None, amendment)
    own = [step for step in part if step.item_of is None]
    for step in part:
        if step.item_of is not None:  # the list is made anew
            run.move(step, StepEvent.STOPPED)
            step.removed = True
    for step in own:
        mapping.count(run, step)
    amending.count_missing(run, own)
    return list({step.index: step for step in (*own, *changed)}.values())


def _reset(run: Run, step: StepState, number: int) -> None:
    """Let a step wait again, as if it had not been done."""
    if step.settled:
        run.move(step, StepEvent.REWOUND)
    if step.attempt > step.rewound_at:
        step.formerly.append((step.attempt, step.spec.compensate))
    step.rewinding = step.cleared = step.lost = step.inherited = False
    step.rewound_at = step.reopened_at = step.attempt
    step.rewound_by, step.level, step.blockers, step.uncleared = number, 0, 0, 0
    step.output = step.summary = step.error = step.because = step.compensation = None
    step.unheard = []
    if step.items is not None:
        run.items -= len(step.items)
        step.items, step.next_item = None, 0
