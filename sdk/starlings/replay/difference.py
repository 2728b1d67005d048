"""How two runs differ: in plan, results, cost and time. Pure; steps are matched by their ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlings.choreography import Phase, StepState
from starlings.choreography.mapping import in_plan_order
from starlings.client import RunView
from starlings.messages import RunOptions, Step, Usage

_OF_PLAN = tuple(name for name in Step.model_fields if name != "id")


@dataclass(frozen=True)
class StepSide:
    """A step as one of the runs has it."""

    agent: str
    variant: str | None
    state: str
    attempts: int
    inherited: bool
    output: Any
    error: str | None
    duration_s: float | None
    usage: Usage | None


@dataclass(frozen=True)
class StepDifference:
    """A step of either run; `changed` names what its plan says otherwise."""

    step_id: str
    left: StepSide | None
    right: StepSide | None
    changed: tuple[str, ...] = ()

    @property
    def is_same_result(self) -> bool:
        """Whether both came to the same, whatever it has cost."""
        left, right = self.left, self.right
        if left is None or right is None:
            return False
        return (left.state, left.output, left.error) == (right.state, right.output, right.error)

    @property
    def is_same(self) -> bool:
        """Whether the step is as planned there, served by the same, and came to the same."""
        served = [(s.agent, s.variant or "") for s in (self.left, self.right) if s is not None]
        variants = {variant for _, variant in served} if not self.inherits else set()
        return self.is_same_result and not self.changed and len(variants) <= 1

    @property
    def inherits(self) -> bool:
        """Whether one of the runs has not done it, but was given its result."""
        return any(side is not None and side.inherited for side in (self.left, self.right))


@dataclass(frozen=True)
class RunSide:
    """A whole run."""

    run_id: str
    status: str
    steps: int
    duration_s: float | None
    usage: Usage | None
    output: Any
    forked_from: str | None


@dataclass(frozen=True)
class Difference:
    """Two runs, side by side; `options` names the choices in which they differ."""

    left: RunSide
    right: RunSide
    options: tuple[str, ...]
    steps: tuple[StepDifference, ...]


def difference(left: RunView, right: RunView) -> Difference:
    """Compare two runs as they stand; one that is not planned has no steps."""
    ours, theirs = _states(left), _states(right)
    names = dict.fromkeys((*ours, *theirs))
    return Difference(
        left=_run_side(left),
        right=_run_side(right),
        options=_options(left, right),
        steps=tuple(
            StepDifference(
                name,
                _side(left, ours.get(name)),
                _side(right, theirs.get(name)),
                _changed(ours.get(name), theirs.get(name)),
            )
            for name in names
        ),
    )


def _states(view: RunView) -> dict[str, StepState]:
    return {s.spec.id: s for s in in_plan_order(view.run)} if view.run is not None else {}


def _run_side(view: RunView) -> RunSide:
    run, done = view.run, view.done
    return RunSide(
        run_id=view.run_id,
        status=view.status,
        steps=sum(step.item_of is None for step in run.order) if run else 0,
        duration_s=done.duration_s if done else None,
        usage=run.used() if run else None,
        output=done.output if done else None,
        forked_from=run.forked_from[0] if run and run.forked_from else None,
    )


def _options(left: RunView, right: RunView) -> tuple[str, ...]:
    if left.run is None or right.run is None:
        return ()
    ours, theirs = left.run.options, right.run.options
    return tuple(n for n in RunOptions.model_fields if getattr(ours, n) != getattr(theirs, n))


def _side(view: RunView, state: StepState | None) -> StepSide | None:
    if state is None:
        return None
    trace = view.traces.get(state.spec.id)
    return StepSide(
        agent=state.spec.agent,
        variant=state.variant,
        state="removed" if state.removed else state.phase.value,
        attempts=state.attempt,
        inherited=state.inherited,
        output=state.output,
        error=state.error.message if state.error and state.phase is Phase.FAILED else None,
        duration_s=trace.duration_s if trace else None,
        usage=trace.usage if trace else None,
    )


def _changed(ours: StepState | None, theirs: StepState | None) -> tuple[str, ...]:
    if ours is None or theirs is None:
        return ()
    return tuple(n for n in _OF_PLAN if getattr(ours.spec, n) != getattr(theirs.spec, n))
