"""Beginning a run on results of another one, which it was forked from.

- What is inherited counts as done, with attempt 0: nothing of it is released, waited for, or paid
  for by this run. It belongs to the run that it comes from, so this run never undoes it either,
  whatever undoes it by the plan.
- A result is inherited only together with those of all steps that it depends on: everything that
  runs here has been made ready by this run, and nothing was done on what will be done anew.
- Of a list whose items were not all done, those that were may be inherited: they are laid out when
  the run begins. One that the list does not have (any more) is left out.
- Everybody may write to the log, so a fork that contradicts itself is rejected like a bad plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from starlings.messages.errors import Problem, StepFailed
from starlings.messages.forking import InheritedResult, RunForked
from starlings.messages.plan import ForEach

from . import mapping
from .context import as_text, shorten
from .state import Run, StepState
from .transitions import StepEvent


def inheritance_problems(fact: RunForked) -> Iterator[Problem]:
    """Find what cannot be inherited, in a fork whose plan is good by itself."""
    steps = {step.id: step for step in fact.plan.steps}
    named: set[str] = set()
    whole = {result.step_id for result in fact.inherited} & steps.keys()
    for result in fact.inherited:
        name = result.step_id
        if name in named:
            yield _problem("duplicate_id", name, "it is inherited twice", "name it once")
        named.add(name)
        step = steps.get(name) or steps.get(list_of(name))
        if step is None or (step.id != name and step.foreach is None):
            yield _problem("unknown_step", name, "the plan has no such step", "leave it out")
        elif step.id != name and step.id in whole:
            message = "it is part of a list that is inherited as a whole"
            yield _problem("part_of_inherited", name, message, "leave it out")
        elif missing := [d for d in step.depends_on if d not in whole]:
            message = f"it depends on {missing[0]!r}, which is not inherited"
            yield _problem("inherited_in_part", name, message, "inherit both, or neither")


def _problem(code: str, step: str, message: str, remedy: str) -> Problem:
    return Problem(code=code, step=step, field="inherited", message=message, remedy=remedy)


def list_of(name: str) -> str:
    """Say which step a name is an item of, `do` of `do[3]`; empty where it is none."""
    return name.rpartition("[")[0]


def inherit(run: Run, results: Sequence[InheritedResult]) -> None:
    """Take results over into a run that has just been laid out."""
    items = [result for result in results if result.step_id not in run.steps]
    for result in results:
        if result.step_id in run.steps:
            _take_over(run, run.steps[result.step_id], result)
    for name in dict.fromkeys(list_of(item.step_id) for item in items):
        _lay_out_items(run, run.steps[name])
    for item in items:
        if item.step_id in run.steps:
            _take_over(run, run.steps[item.step_id], item)
    for step in run.order:
        if step.item_of is None:
            step.missing = sum(not run.steps[d].settled for d in set(step.spec.depends_on))


def _take_over(run: Run, step: StepState, result: InheritedResult) -> None:
    step.inherited = True
    if result.skipped:
        run.move(step, StepEvent.CONDITION_FALSE)
        return
    run.move(step, StepEvent.INHERITED)
    text = result.summary if result.summary is not None else shorten(as_text(result.output))
    step.output, step.summary = result.output, text


def _lay_out_items(run: Run, step: StepState) -> None:
    foreach = step.spec.foreach or ForEach(items=[])  # it has one, or the fork was rejected
    with suppress(StepFailed):  # which is found out again, and told, when the step begins
        mapping.lay_out_items(run, step, foreach)
