"""Which steps are skipped because a condition does not hold, and what that means for others.

A skipped step counts as settled, with no output. A step is skipped along where *everything* it
depends on was skipped; where at least one of those ran, it runs. So a branch that was not taken is
skipped to its end, and the step where branches meet again runs with the one that was. `on_skipped`
says otherwise: `run` runs the step in any case, `skip` skips it where any dependency was skipped.
Its own condition is judged after that.
"""

from __future__ import annotations

from starlings.messages.plan import SkippedPolicy

from .conditions import condition_references, holds
from .results import dependency_result
from .state import Run, StepState
from .transitions import Phase


def is_skipped(run: Run, step: StepState) -> bool:
    """Say whether a step is passed over, now that all it depends on has settled.

    Raises:
        StepFailed: its condition cannot be judged.
    """
    if _is_skipped_along(run, step):
        return True
    when = step.spec.when
    if when is None:
        return False
    looked_at = dict.fromkeys(condition_references(when))
    return not holds(when, {name: dependency_result(run.steps[name]) for name in looked_at})


def _is_skipped_along(run: Run, step: StepState) -> bool:
    steps = run.steps
    before = [steps[name].phase for name in step.spec.depends_on]
    if Phase.SKIPPED not in before or step.spec.on_skipped is SkippedPolicy.RUN:
        return False
    return step.spec.on_skipped is SkippedPolicy.SKIP or set(before) == {Phase.SKIPPED}


def skip_reason(run: Run, step: StepState) -> str:
    """Say why a step is skipped."""
    if step.because is not None:
        return f"{step.because} failed"
    if _is_skipped_along(run, step):
        any_is_enough = step.spec.on_skipped is SkippedPolicy.SKIP
        return f"{'something' if any_is_enough else 'all'} that it depends on was skipped"
    return f"its condition does not hold: {step.spec.when}"
