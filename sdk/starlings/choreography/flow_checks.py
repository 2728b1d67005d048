"""What can be wrong with the conditions and the lists of a plan's steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlings.messages.conditions import GROUPS, REFERENCE, Condition
from starlings.messages.errors import Problem
from starlings.messages.plan import Step

from .conditions import condition_references, depth
from .context import as_text, references, shorten, unreadable

DEEPEST_CONDITION = 10
ITEMS_LIMIT = 10_000  # of all lists of a run: each is a step of its own


def reference_without_dependency(step: Step, field: str, name: str) -> Problem:
    """Say that a template refers to a step whose result will not be there."""
    return Problem(
        code="reference_without_dependency",
        step=step.id,
        field=field,
        message=f"a template refers to step {name!r}, which is no dependency",
        remedy=f"add {name!r} to its depends_on",
    )


def flow_problems(step: Step) -> Iterator[Problem]:
    """Look at a step's id, its condition and its list."""
    if step.id.endswith("]"):
        yield Problem(
            code="bad_id",
            step=step.id,
            field="id",
            message="ids with a number in brackets are those of items",
            remedy=f"call it {step.id.partition('[')[0]!r}, or give it a foreach",
        )
    if step.when is not None:
        yield from _condition_problems(step, step.when)
    if step.foreach is not None:
        yield from _foreach_problems(step, step.foreach.items)


def _foreach_problems(step: Step, items: Any) -> Iterator[Problem]:
    if step.approval is not None or step.signal is not None:
        yield _bad_foreach(step, "the step waits for a word, and does nothing for each item")
    if isinstance(items, list):
        if len(items) > ITEMS_LIMIT:
            yield too_many_items(step, len(items))
        return
    names = list(references(items)) if isinstance(items, str) else []
    if len(names) != 1 or not REFERENCE.fullmatch(items):
        yield _bad_foreach(step, f"{shorten(as_text(items), 80)} is neither a list nor a reference")
        return
    if names[0] not in step.depends_on:
        yield reference_without_dependency(step, "foreach", names[0])
    if (rest := unreadable(items)) is not None:
        yield _bad_path(step, "foreach", items, rest)


def _bad_foreach(step: Step, message: str) -> Problem:
    return Problem(
        code="bad_foreach",
        step=step.id,
        field="foreach",
        message=message,
        remedy="give a list, or one reference to a list, such as {{steps.<id>.output}}",
    )


def too_many_items(step: Step, count: int) -> Problem:
    """Say that a list is too long."""
    return Problem(
        code="too_many_items",
        step=step.id,
        field="foreach",
        message=f"{count:,} items; the limit is {ITEMS_LIMIT:,} in a run",
        remedy="let one step do several items, or split them over several runs",
    )


def _bad_path(step: Step, field: str, reference: str | None, rest: str) -> Problem:
    return Problem(
        code="bad_reference",
        step=step.id,
        field=field,
        message=f"the path in {reference} cannot be read at {rest!r}",
        remedy="write .name, [0] or ['a name']",
    )


def _condition_problems(step: Step, when: Condition) -> Iterator[Problem]:
    """Look at the condition of a step."""
    if depth(when) > DEEPEST_CONDITION:
        yield Problem(
            code="condition_too_deep",
            step=step.id,
            field="when",
            message=f"more than {DEEPEST_CONDITION} conditions lie within each other",
            remedy="say it with fewer groups, or let a step decide",
        )
        return
    for name in dict.fromkeys(condition_references(when)):
        if name not in step.depends_on:
            yield reference_without_dependency(step, "when", name)
    yield from _unreadable_paths(step, when)


def _unreadable_paths(step: Step, when: Condition) -> Iterator[Problem]:
    for part in when.parts():
        yield from _unreadable_paths(step, part)
    rest = None if when.kind in GROUPS else unreadable(when.value or "")
    if rest is not None:
        yield _bad_path(step, "when", when.value, rest)
