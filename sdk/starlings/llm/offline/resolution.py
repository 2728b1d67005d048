"""Find out which earlier results references speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .expressions import ALL, PREVIOUS, NotUnderstood, Operation, Reference, Value, folded
from .operations import AREA_NOUNS, OPERATIONS, Area
from .patterns import nouns


@dataclass
class Earlier:
    """A result that can be referred to; `operation` is None where only its agent is known."""

    key: str
    area: Area | None
    operation: str | None = None
    is_used: bool = False


class Memory:
    """The results so far, in the order in which they were said."""

    def __init__(self) -> None:
        self._results: list[Earlier] = []

    def remember(self, result: Earlier) -> None:
        """Add the latest result."""
        self._results.append(result)

    def resolve(self, operation: Operation) -> Operation:
        """Replace every reference by one to a key, `Reference("step:<key>")`.

        What is named is found first; "the result" is then the latest result that is not named in
        the same sentence: in "multiply the result by the word count" these are two things.

        Raises:
            NotUnderstood: a reference speaks of nothing that was said before.
        """
        named = {r: self._named(r) for r in references(operation) if r not in {PREVIOUS, ALL}}
        taken = {result.key for result in named.values()}
        found = {reference: [result] for reference, result in named.items()}
        if PREVIOUS in references(operation):
            found[PREVIOUS] = [self._latest(taken)]
        if ALL in references(operation):
            found[ALL] = self._all()
        for results in found.values():
            for result in results:
                result.is_used = True
        return _replaced(operation, found)

    def _latest(self, taken: set[str]) -> Earlier:
        left = [result for result in self._results if result.key not in taken]
        if not self._results:
            raise NotUnderstood("what 'the result' is")
        return (left or self._results)[-1]

    def _all(self) -> list[Earlier]:
        unused = [result for result in self._results if not result.is_used]
        found = unused if len(unused) > 1 else self._results
        if len(found) < 2:  # noqa: PLR2004 - "them" are two at least
            raise NotUnderstood("what 'the results' are")
        return found

    def _named(self, reference: Reference) -> Earlier:
        kind, _, name = reference.what.partition(":")
        if kind == "noun":
            found = self._by_noun(name)
        elif kind == "step":
            found = next((r for r in self._results if r.key == name), None)
        else:
            found = self._by_number(name)
        if found is None:
            what = f"result number {name}" if kind == "#" else f"the result of {name!r}"
            raise NotUnderstood(f"what {what} is")
        return found

    def _by_number(self, number: str) -> Earlier | None:
        for result in self._results:
            if result.key in {number, f"s{number}"}:
                return result
        index = int(number) - 1 if number.isdecimal() else -1
        return self._results[index] if 0 <= index < len(self._results) else None

    def _by_noun(self, noun: str) -> Earlier | None:
        operations = nouns().get(tuple(noun.split()), frozenset())
        areas = {OPERATIONS[name].area for name in operations}
        if noun in AREA_NOUNS:
            areas.add(AREA_NOUNS[noun])
        for result in reversed(self._results):
            if result.operation in operations:
                return result
        for result in reversed(self._results):
            only_area_known = result.operation is None or not operations
            if only_area_known and result.area in areas:
                return result
        alone = self._results[0] if len(self._results) == 1 else None
        return alone if alone and alone.operation is None else None


def references(value: Value) -> Iterator[Reference]:
    """Yield all references in a value, from left to right."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Operation):
        for operand in value.operands:
            yield from references(operand)


def _replaced(operation: Operation, found: dict[Reference, list[Earlier]]) -> Operation:
    operands: list[Value] = []
    for operand in operation.operands:
        if isinstance(operand, Reference):
            operands += [Reference(f"step:{result.key}") for result in found[operand]]
        elif isinstance(operand, Operation):
            operands.append(_replaced(operand, found))
        else:
            operands.append(operand)
    wanted = len(OPERATIONS[operation.name].roles)
    if len(operands) > wanted and len(set(operands)) > 1:
        return folded(operation.name, operands)
    if len(operands) != wanted:
        raise NotUnderstood(f"what to {operation.name}")
    return replace(operation, operands=tuple(operands))
