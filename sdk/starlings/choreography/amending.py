"""Amendments: agents that change the plan of the run that they work in.

An amendment comes with the result of a step. The step has done its work then, but counts as settled
only when its amendment has been decided on: no step of the run begins in between, and the run does
not end. What this core can judge, it judges when it reads the result; whether the agents
are known, the coordinator looks up, and says so in the log: `plan_amended` is applied when it is
read, and judged once more, since the run has gone on. Where something is wrong, nothing of it is
applied, `amendment_rejected` names every problem, and the run goes on as it was planned.

Such an amendment never changes a step that has begun; its added steps stand behind the step that
asked for them. An amendment of the planner, that a run was planned anew with, may: what it
invalidates of them is undone first.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator

from starlings.messages.amendments import Amendment
from starlings.messages.errors import Problem
from starlings.messages.plan import Plan, Step

from .state import Replan, Run, StepState
from .transitions import Phase, StepEvent, UndoPhase
from .validation import check_plan

_NOT_BEGUN = frozenset({Phase.WAITING, Phase.READY})


def amendment_problems(run: Run, step: StepState, amendment: Amendment) -> list[Problem]:
    """List what is wrong with an amendment, as things stand; empty when all is well."""
    problems = [*_own_problems(run, step, amendment), *_unfit_names(run, amendment)]
    return problems or check_plan(_amended(run, step, amendment))


def replan_problems(run: Run, replan: Replan) -> list[Problem]:
    """List what is wrong with the amendment that a run is to be planned anew with."""
    amendment = replan.amendment or Amendment()
    problems = list(_unfit_names(run, amendment))
    if not problems:
        problems = list(_not_to_be_rewound(run, replan, invalidated(run, amendment)))
    return problems or check_plan(_amended(run, None, amendment))


def _own_problems(run: Run, step: StepState, amendment: Amendment) -> Iterator[Problem]:
    if step.item_of is not None:
        yield _problem("amendment_of_item", None, "an item of a list cannot amend the plan")
    if run.rewinding:
        yield _problem("replanning", None, "the run is being planned anew", "amend it afterwards")
    for name in _touched(amendment):
        found = run.steps.get(name)
        if found is not None and not found.removed and _has_begun(found):
            state = "part of a list" if found.item_of is not None else found.phase.value
            yield _problem("step_begun", name, f"the step has begun: it is {state}")


def _unfit_names(run: Run, amendment: Amendment) -> Iterator[Problem]:
    gone = Counter([*amendment.remove, *(spec.id for spec in amendment.replace)])
    for name in (name for name, count in gone.items() if count > 1):
        message = f"the step {name!r} is to be removed or replaced more than once"
        yield _problem("named_twice", name, message, "say once what becomes of it")
    for spec in amendment.add:
        if spec.id in run.steps:
            message = f"there is a step {spec.id!r}, or was one"
            yield _problem("duplicate_id", spec.id, message, "give it another id, or replace it")
    for name in _touched(amendment):
        found = run.steps.get(name)
        if found is None or found.removed:
            yield _problem("unknown_step", name, f"there is no step {name!r}")


def _not_to_be_rewound(run: Run, replan: Replan, part: list[StepState]) -> Iterator[Problem]:
    names = {step.spec.id for step in part}
    if replan.failed and replan.step_id not in names:
        message = f"the step {replan.step_id!r} has failed, and would stay as it is"
        yield _problem("failed_step_left", replan.step_id, message, _HOW)
    for name in _touched(replan.amendment or Amendment()):
        if run.steps[name].item_of is not None:
            yield _problem("item_of_list", name, "it is part of a list", "name the whole list")
    for step in part:
        undos = [run.undos[step.spec.id, attempt] for attempt in step.undos]
        if any(undo.phase is UndoPhase.FAILED for undo in undos):
            message = "it could not be undone, so it cannot be done again"
            yield _problem("not_undone", step.spec.id, message, "leave it as it is")
        if step.added:
            message = "it has added steps to the plan itself, so it cannot be done again"
            yield _problem("step_has_amended", step.spec.id, message, "leave it as it is")


_HOW = "replace or remove it, or invalidate it so that it is done again"


def _touched(amendment: Amendment) -> list[str]:
    replaced = (spec.id for spec in amendment.replace)
    return [*amendment.remove, *replaced, *amendment.invalidate]


def _has_begun(step: StepState) -> bool:
    laid_out = step.items is not None or step.item_of is not None  # in a run that was reopened
    return step.phase not in _NOT_BEGUN or step.attempt > step.rewound_at or laid_out


def invalidated(run: Run, amendment: Amendment) -> list[StepState]:
    """Say what has to be undone: what has begun of the steps named, with all that depends on it."""
    todo = [run.steps[name] for name in _touched(amendment) if _has_begun(run.steps[name])]
    found: dict[int, StepState] = {}
    while todo:
        step = todo.pop()
        if step.index not in found:
            found[step.index] = step
            todo.extend(run.order[index] for index in (*step.dependents, *(step.items or ())))
    return [found[index] for index in sorted(found)]


def _problem(code: str, step: str | None, message: str, remedy: str = "") -> Problem:
    remedy = remedy or "amend only steps of the plan that have not begun; add others"
    return Problem(code=code, step=step, field="amendment", message=message, remedy=remedy)


def _amended(run: Run, step: StepState | None, amendment: Amendment) -> Plan:
    """Make up the plan as it would be."""
    instead = {spec.id: spec for spec in amendment.replace}
    gone = set(amendment.remove)
    kept = [s for s in run.order if s.item_of is None and not s.removed and s.spec.id not in gone]
    joined = _leaves(amendment) if amendment.join and step is not None else []
    behind = set(step.dependents) if joined and step is not None else set()
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


def amend(run: Run, step: StepState | None, amendment: Amendment) -> list[StepState]:
    """Change the plan; return the steps that may wait for nothing now."""
    gone = [run.steps[name] for name in amendment.remove]
    otherwise = [run.steps[spec.id] for spec in amendment.replace]
    _take_out(run, [*gone, *otherwise])
    for removed in gone:
        removed.spec = removed.spec.model_copy(update={"depends_on": []})
        removed.removed = True
        run.move(removed, StepEvent.STOPPED)
    for state, spec in zip(otherwise, amendment.replace, strict=True):
        _replace(run, state, spec)
    added = [run.add(spec) for spec in amendment.add]
    behind = list(step.dependents) if step is not None else []  # of these, those that stay so
    run.connect((*otherwise, *added))
    if step is not None:
        step.added = [state.index for state in added]
        if amendment.join:
            _join(run, behind, _leaves(amendment))
    count_missing(run, (*otherwise, *added))
    return [*otherwise, *added]


def count_missing(run: Run, steps: Iterable[StepState]) -> None:
    """Count what steps wait for: also for another plan in place of what has failed."""
    awaited = {replan.step_id for replan in run.replans if replan.failed}
    for state in steps:
        before = dict.fromkeys(state.spec.depends_on)
        state.missing = sum(d in awaited or not run.steps[d].settled for d in before)


def _replace(run: Run, state: StepState, spec: Step) -> None:
    state.spec = spec
    if state.phase is Phase.READY:
        run.move(state, StepEvent.REPLACED)


def _take_out(run: Run, states: list[StepState]) -> None:
    """Let nothing lead to these: all at once, since one step may have thousands behind it."""
    gone = {state.index for state in states}
    for name in dict.fromkeys(name for state in states for name in state.spec.depends_on):
        before = run.steps[name]
        before.dependents = [index for index in before.dependents if index not in gone]
    run.withdraw(states)


def _join(run: Run, dependents: Iterable[int], leaves: list[str]) -> None:
    for index in dependents:
        state = run.order[index]
        state.spec = _joined(state.spec, leaves)
        state.missing += len(leaves)
        for name in leaves:
            insort(run.steps[name].dependents, index)
