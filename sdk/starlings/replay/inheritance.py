"""What a fork takes over of a run: results that stand, and that rest on nothing but such results.

- What was done stands, unless it has been undone since or is to be; so does what a condition has
  skipped. What failed, was at work or had not begun is done anew, with all that depends on it.
- From a step on: that step, and what depends on it directly or not, is done anew; nothing else.
- Of a list that is done anew, or of which one item is, the items that stand are taken over.
- Steps that a step has added to the plan are gone where that step is done anew: it may add others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from starlings.choreography import Phase, Run, StepState
from starlings.choreography.mapping import in_plan_order
from starlings.messages import CommandRefused, InheritedResult

_NOT_BEGUN = frozenset({Phase.WAITING, Phase.READY, Phase.SKIPPED, Phase.CANCELLED})


class Inheritance(NamedTuple):
    """What is taken over, and what of the plan is gone."""

    results: list[InheritedResult]
    gone: set[str]  # steps that were added to the plan by what is done anew

    @property
    def steps(self) -> set[str]:
        """Name what is taken over."""
        return {result.step_id for result in self.results}


def inheritance(then: Run, now: Run, from_step: str | None) -> Inheritance:
    """Say what a fork takes over of a run as it stood `then`, as far as it stands `now`.

    Raises:
        CommandRefused: the step to go on from has never run.
    """
    first = then.steps[from_step] if from_step is not None else None
    if first is not None and not _has_run(first):
        raise CommandRefused(
            f"step {first.spec.id!r} has never run, it is {first.phase.value}: a fork does anew "
            "what is not done; leave --from-step out, or name a step that has run"
        )
    undone = then.undos.keys() | now.undos.keys()
    origin = [] if first is None else [_whole(then, first)]
    own = [s for s in in_plan_order(then) if s.item_of is None and not s.removed]
    anew, gone = _closure(then, [*origin, *(s for s in own if not _stands(then, s, undone))])
    results = [_result(s) for s in own if s.index not in anew]
    for step in own:
        if step.index in anew and step is not first and not _rests_on(then, step, anew):
            items = (i for i in _items(then, step) if i is not first and _stands(then, i, undone))
            results += [_result(item) for item in items]
    return Inheritance(results, {then.order[index].spec.id for index in gone})


def chosen(run: Run, from_step: str | None) -> set[str]:
    """Name what is done anew because somebody wants that, and not because it has to be."""
    if from_step is None:
        return set()
    first = run.steps[from_step]
    anew, _ = _closure(run, [_whole(run, first)])
    return set(_named(run, anew, first))


def _has_run(step: StepState) -> bool:
    return step.attempt > 0 or step.inherited or step.phase not in _NOT_BEGUN


def _whole(run: Run, step: StepState) -> StepState:
    return step if step.item_of is None else run.order[step.item_of]


def _items(run: Run, step: StepState) -> Iterator[StepState]:
    return (run.order[index] for index in step.items or ())


def _stands(run: Run, step: StepState, undone: Collection[tuple[str, int]]) -> bool:
    """Whether a step's result is one that may be built on."""
    if step.phase is Phase.SKIPPED:
        return step.because is None
    if step.phase is not Phase.DONE or (step.spec.id, step.attempt) in undone:
        return False
    return all((item.spec.id, item.attempt) not in undone for item in _items(run, step))


def _rests_on(run: Run, step: StepState, anew: Collection[int]) -> bool:
    return any(run.steps[name].index in anew for name in step.spec.depends_on)


def _closure(run: Run, begin: Iterable[StepState]) -> tuple[set[int], set[int]]:
    """Say what is done anew together with some steps, and which of it they have added."""
    anew: set[int] = set()
    gone: set[int] = set()
    todo = list(begin)
    while todo:
        step = todo.pop()
        if step.index in anew:
            continue
        anew.add(step.index)
        gone.update(step.added)
        todo += (run.order[index] for index in (*step.dependents, *step.added))
    return anew, gone


def _named(run: Run, anew: Iterable[int], first: StepState) -> Iterator[str]:
    for index in anew:
        step = run.order[index]
        yield step.spec.id
        parts = [first] if first.item_of == index else _items(run, step)
        yield from (part.spec.id for part in parts)


def _result(step: StepState) -> InheritedResult:
    skipped = step.phase is Phase.SKIPPED
    return InheritedResult(
        step_id=step.spec.id, output=step.output, summary=step.summary, skipped=skipped
    )
