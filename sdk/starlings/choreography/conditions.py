"""Does a condition hold, given the results of earlier steps?

Values are compared as JSON: `1` and `1.0` are equal, `1`, `true` and `"1"` are not. Groups are read
from left to right, and no further than needed, so a first condition can guard a second one. What
cannot be compared is an error that names both sides; it is never simply false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import ge, gt, le, lt
from typing import Any

from starlings.messages.conditions import Condition
from starlings.messages.errors import StepFailed
from starlings.messages.steps import DependencyResult

from .context import as_text, refer, references, shorten

Results = Mapping[str, DependencyResult]
_SHOWN = 80


def holds(condition: Condition, results: Results) -> bool:
    """Say whether a condition holds.

    Raises:
        StepFailed: `template_unresolved` where there is no such value, `condition_type` where it
            cannot be compared like this.
    """
    kind = condition.kind
    if kind == "all":
        return all(holds(part, results) for part in condition.parts())
    if kind in ("any", "none"):
        found = any(holds(part, results) for part in condition.parts())
        return found if kind == "any" else not found
    if kind == "exists":
        return _exists(condition, results) is condition.exists
    value = refer(condition.value or "", results)
    return _COMPARE[kind](condition, value, getattr(condition, kind))


def condition_references(condition: Condition) -> Iterator[str]:
    """Yield the ids of the steps that a condition looks at."""
    yield from references(condition.value)
    for part in condition.parts():
        yield from condition_references(part)


def depth(condition: Condition) -> int:
    """Say how many groups lie within each other."""
    return 1 + max((depth(part) for part in condition.parts()), default=0)


def _exists(condition: Condition, results: Results) -> bool:
    try:
        return refer(condition.value or "", results) is not None
    except StepFailed:
        return False


def same(one: Any, other: Any) -> bool:
    """Compare two JSON values; `true` is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _equals(_: Condition, value: Any, other: Any) -> bool:
    return same(value, other)


def _not_equals(_: Condition, value: Any, other: Any) -> bool:
    return not same(value, other)


def _one_of(_: Condition, value: Any, others: list[Any]) -> bool:
    return any(same(value, other) for other in others)


def _none_of(_: Condition, value: Any, others: list[Any]) -> bool:
    return not any(same(value, other) for other in others)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Condition, Any, Any], bool]:
    def ordered(condition: Condition, value: Any, other: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(condition, value, "a number")
        return compare(value, other)

    return ordered


def _contains(condition: Condition, value: Any, part: Any) -> bool:
    if isinstance(value, list):
        return any(same(each, part) for each in value)
    if not isinstance(value, str | dict):
        raise _wrong_type(condition, value, "a text, a list or an object")
    if not isinstance(part, str):
        raise _wrong_type(condition, value, "a list, for that is all that can contain it")
    return part in value


def _wrong_type(condition: Condition, value: Any, wanted: str) -> StepFailed:
    found = shorten(as_text(value), _SHOWN)
    return StepFailed(
        f"the condition {condition} cannot be judged: the value is {found}, not {wanted}",
        code="condition_type",
    )


_COMPARE: dict[str, Callable[[Condition, Any, Any], bool]] = {
    "equals": _equals,
    "not_equals": _not_equals,
    "less_than": _ordered(lt),
    "at_most": _ordered(le),
    "more_than": _ordered(gt),
    "at_least": _ordered(ge),
    "one_of": _one_of,
    "none_of": _none_of,
    "contains": _contains,
}
