"""Amendments: agents that change the plan of the run that they work in.

An amendment comes with the result of a step. The step has done its work then, but counts as settled
only when its amendment has been decided on: no step of the run begins in between, and the run does
not end. What this core can judge, it judges when it reads the result; whether the agents
are known, the coordinator looks up, and says so in the log: `plan_amended` is applied when it is
read, and judged once more, since the run has gone on. Where something is wrong, nothing of it is
applied, `amendment_rejected` names every problem, and the run goes on as it was planned.

A step that has begun is never changed. Added steps stand behind the step that asked for them.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Iterator

from starlings.messages.amendments import Amendment
from starlings.messages.errors import Problem
from starlings.messages.plan import Plan, Step

from .state import Run, StepState
from .transitions import Phase, StepEvent
from .validation import check_plan

_NOT_BEGUN = frozenset({Phase.WAITING, Phase.READY})


def amendment_problems(run: Run, step: StepState, amendment: Amendment) -> list[Problem]:
    """List what is wrong with an amendment, as things stand; empty when all is well."""
    problems = list(_own_problems(run, step, amendment))
    return problems or check_plan(_amended(run, step, amendment))


def _own_problems(run: Run, step: StepState, amendment: Amendment) -> Iterator[Problem]:
    if step.item_of is not None:
        yield _problem("amendment_of_item", None, "an item of a list cannot amend the plan")
    for spec in amendment.add:
        if spec.id in run.steps:
            message = f"there is a step {spec.id!r}, or was one"
            yield _problem("duplicate_id", spec.id, message, "give it another id, or replace it")
    for name in (*amendment.remove, *(spec.id for spec in amendment.replace)):
        found = run.steps.get(name)
        if found is None or found.removed:
            yield _problem("unknown_step", name, f"there is no step {name!r}")
        elif _has_begun(found):
            state = "part of a list" if found.item_of is not None else found.phase.value
            yield _problem("step_begun", name, f"the step has begun: it is {state}")


def _has_begun(step: StepState) -> bool:
    laid_out = step.items is not None or step.item_of is not None  # in a run that was reopened
    return step.phase not in _NOT_BEGUN or step.attempt > 0 or laid_out


def _problem(code: str, step: str | None, message: str, remedy: str = "") -> Problem:
    remedy = remedy or "amend only steps of the plan that have not begun; add others"
    return Problem(code=code, step=step, field="amendment", message=message, remedy=remedy)


def _amended(run: Run, step: StepState, amendment: Amendment) -> Plan:
    """Make up the plan as it would be."""
    instead = {spec.id: spec for spec in amendment.replace}
    gone = set(amendment.remove)
    kept = [s for s in run.order if s.item_of is None and not s.removed and s.spec.id not in gone]
    joined = _leaves(amendment) if amendment.join else []
    behind = set(step.dependents) if joined else set()
    specs = [
        instead.get(s.spec.id) or (_joined(s.spec, joined) if s.index in behind else s.spec)
        for s in kept
    ]
    return Plan.model_construct(steps=[*specs, *amendment.add])


def _leaves(amendment: Amendment) -> list[str]:
    inner = {name for spec in amendment.add for name in spec.depends_on}
    return [spec.id for spec in amendment.add if spec.id not in inner]


def _joined(spec: Step, names: list[str]) -> Step:
    return spec.model_copy(update={"depends_on": [*spec.depends_on, *names]})


def amend(run: Run, step: StepState, amendment: Amendment) -> list[StepState]:
    """Change the plan; return the steps that may wait for nothing now."""
    for name in amendment.remove:
        removed = run.steps[name]
        _take_out(run, removed)
        removed.spec = removed.spec.model_copy(update={"depends_on": []})
        removed.removed = True
        run.move(removed, StepEvent.STOPPED)
    changed = [_replace(run, run.steps[spec.id], spec) for spec in amendment.replace]
    added = [run.add(spec) for spec in amendment.add]
    step.added = [state.index for state in added]
    behind = list(step.dependents)  # those of before, and of these the ones that stay as they are
    run.connect((*changed, *added))
    if amendment.join:
        _join(run, behind, _leaves(amendment))
    for state in (*changed, *added):
        state.missing = sum(not run.steps[d].settled for d in set(state.spec.depends_on))
    return [*changed, *added]


def _replace(run: Run, state: StepState, spec: Step) -> StepState:
    _take_out(run, state)
    state.spec = spec
    if state.phase is Phase.READY:
        run.move(state, StepEvent.REPLACED)
    return state


def _take_out(run: Run, state: StepState) -> None:
    for name in dict.fromkeys(state.spec.depends_on):
        run.steps[name].dependents.remove(state.index)
    if state.phase is Phase.READY:
        run.ready.remove(state.index)
        heapq.heapify(run.ready)


def _join(run: Run, dependents: Iterable[int], leaves: list[str]) -> None:
    for index in dependents:
        state = run.order[index]
        state.spec = _joined(state.spec, leaves)
        state.missing += len(leaves)
        for name in leaves:
            insort(run.steps[name].dependents, index)
