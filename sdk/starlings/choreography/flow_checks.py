"""What can be wrong with the conditions of a plan's steps."""

from __future__ import annotations

from collections.abc import Iterator

from starlings.messages.conditions import GROUPS, Condition
from starlings.messages.errors import Problem
from starlings.messages.plan import Step

from .conditions import condition_references, depth
from .context import unreadable

DEEPEST_CONDITION = 10


def reference_without_dependency(step: Step, field: str, name: str) -> Problem:
    """Say that a template refers to a step whose result will not be there."""
    return Problem(
        code="reference_without_dependency",
        step=step.id,
        field=field,
        message=f"a template refers to step {name!r}, which is no dependency",
        remedy=f"add {name!r} to its depends_on",
    )


def condition_problems(step: Step, when: Condition) -> Iterator[Problem]:
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
        yield Problem(
            code="bad_reference",
            step=step.id,
            field="when",
            message=f"the path in {when.value} cannot be read at {rest!r}",
            remedy="write .name, [0] or ['a name']",
        )
