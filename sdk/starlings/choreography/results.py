"""The result of a step, as those that depend on it see it."""

from __future__ import annotations

from starlings.messages.errors import InvariantBroken
from starlings.messages.steps import DependencyResult

from .state import Run, StepState
from .transitions import Phase


def dependency_result(step: StepState) -> DependencyResult:
    """Tell what became of a step that has settled."""
    if not step.settled:
        raise InvariantBroken(f"step {step.spec.id!r} is handed on before it has settled")
    # Not validated again: all of it was, when its fact was read, and outputs may be large.
    return DependencyResult.trusted(
        step_id=step.spec.id,
        agent=step.spec.agent,
        summary=step.summary or "",
        output=step.output,
        error=step.error if step.phase is Phase.FAILED else None,
        skipped=step.phase is Phase.SKIPPED,
    )


def results_of(run: Run, step: StepState) -> list[DependencyResult]:
    """Tell what became of everything that a step depends on."""
    return [dependency_result(run.steps[d]) for d in dict.fromkeys(step.spec.depends_on)]
