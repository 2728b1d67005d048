"""A step that is done for each item of a list: fan-out and join.

The items are steps of their own, `<id>[0]`, `<id>[1]`, …, which are laid out once the list is
known, all next to each other behind the plan's steps. So each is tried again, times out, is
stopped and undone like any other; the step itself only waits for them, and its output is the list
of their outputs in the order of the list. Items begin as others settle, `max_parallel` at a time.

An item sees its value in place of the list: what only `foreach` refers to is not handed on to it,
so that a list of a thousand is not sent a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from starlings.messages.errors import ErrorInfo, StepFailed
from starlings.messages.plan import ForEach
from starlings.messages.steps import Item

from .context import as_text, refer, references, shorten
from .flow_checks import ITEMS_LIMIT, too_many_items
from .results import dependency_result
from .state import Run, StepState
from .transitions import SETTLED, Phase, StepEvent

_SUMMARISED = 50


def lay_out_items(run: Run, step: StepState, foreach: ForEach) -> None:
    """Make steps of the items; of a run that was reopened, they are there.

    Raises:
        StepFailed: there is no such list (`template_unresolved`, `foreach_not_a_list`), or it is
            too long (`too_many_items`).
    """
    if step.items is not None:
        return
    values = _values(run, foreach)
    if not isinstance(values, list):
        raise StepFailed(
            f"{foreach.items} in foreach is no list, but {shorten(as_text(values), 80)}",
            code="foreach_not_a_list",
        )
    if run.items + len(values) > ITEMS_LIMIT:
        problem = too_many_items(step.spec, run.items + len(values))
        raise StepFailed(f"{problem.message}: {problem.remedy}", code=problem.code)
    before = handed_on(step)
    items = [add_item(run, step, number, before).index for number in range(len(values))]
    step.items = items
    count(run, step)


def _values(run: Run, foreach: ForEach) -> Any:
    items = foreach.items
    if not isinstance(items, str):
        return items
    return refer(items, {name: dependency_result(run.steps[name]) for name in references(items)})


def handed_on(step: StepState) -> list[str]:
    """Say the results of which steps an item gets to see."""
    spec = step.spec
    used = set(references([spec.task, spec.input, spec.args]))
    listed = set(references(spec.foreach.items if spec.foreach else None)) - used
    return [name for name in spec.depends_on if name not in listed]


def add_item(run: Run, step: StepState, number: int, before: list[str]) -> StepState:
    """Append one item of a step, or take up the one that there was before it was rewound.

    It sees the results of some steps before.
    """
    ident = f"{step.spec.id}[{number}]"
    changes = {"id": ident, "depends_on": before, "when": None, "foreach": None}
    spec = step.spec.model_copy(update=changes)
    run.items += 1
    former = run.steps.get(ident)
    if former is not None:
        former.spec, former.removed = spec, False
        run.move(former, StepEvent.REWOUND)
        return former
    item = run.add(spec)
    item.item_of, item.item, item.missing = step.index, number, 0
    return item


def hand_on(run: Run, step: StepState) -> None:
    """Give the items of a step that are still to be done the input that it was given anew."""
    before = handed_on(step)
    for index in step.items or ():
        item = run.order[index]
        changes: dict[str, Any] = {"depends_on": before}
        if item.phase is not Phase.DONE:
            changes["input"] = step.spec.input
        item.spec = item.spec.model_copy(update=changes)


def drop_items(run: Run, step: StepState) -> None:
    """Stop the items of a step that is not to be done any more, in a run that was reopened."""
    for index in step.items or ():
        if not run.order[index].settled:
            run.move(run.order[index], StepEvent.STOPPED)


def begin_items(run: Run, step: StepState) -> None:
    """Make as many items ready as may be at work at once."""
    limit = step.spec.foreach.max_parallel if step.spec.foreach else None
    items = step.items or range(0)
    while step.next_item < len(items) and (limit is None or step.begun_items < limit):
        item = run.order[items[step.next_item]]
        step.next_item += 1
        if item.phase is Phase.WAITING:  # else it was done before the run was reopened
            run.move(item, StepEvent.DEPENDENCIES_SETTLED)


def join(run: Run, step: StepState) -> ErrorInfo | None:
    """Collect the outputs of all items; say what went wrong, where one has failed."""
    items = [run.order[index] for index in step.items or ()]
    step.output = [item.output for item in items]
    said = "; ".join(item.summary or "" for item in islice(items, _SUMMARISED))
    step.summary = shorten(f"{len(items):,} results: {said}") if items else "nothing to do"
    failed = [item for item in items if item.phase is Phase.FAILED]
    if not failed:
        return None
    first, error = failed[0], failed[0].error
    why = f": {first.spec.id}: {error.message}" if error else ""
    return ErrorInfo(code="items_failed", message=f"{len(failed):,} of {len(items):,} items{why}")


def count(run: Run, step: StepState) -> None:
    """Count how many items of a step are at work, and how many have not settled."""
    items = [run.order[index] for index in step.items or ()]
    step.open_items = sum(item.phase not in SETTLED for item in items)
    step.begun_items = sum(item.begun for item in items)


def free_items(run: Run, step: StepState) -> Iterator[StepState]:
    """Yield the items that may be undone, now that nothing depends on their step any more."""
    for index in step.items or ():
        run.order[index].blockers = 0
        yield run.order[index]


def item_of(run: Run, step: StepState) -> Item | None:
    """Say which item a step is done for."""
    foreach = run.order[step.item_of].spec.foreach if step.item_of is not None else None
    if foreach is None:
        return None
    return Item.trusted(index=step.item, value=_values(run, foreach)[step.item])


def in_plan_order(run: Run) -> Iterator[StepState]:
    """Yield all steps: items, and steps that were added, behind the step that they come from."""
    added = {index for step in run.order for index in step.added}
    todo = [s.index for s in reversed(run.order) if s.item_of is None and s.index not in added]
    while todo:
        step = run.order[todo.pop()]
        yield step
        yield from (run.order[index] for index in step.items or ())
        todo.extend(reversed(step.added))
