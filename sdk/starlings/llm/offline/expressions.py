"""What the grammar makes of a request: values, references, and operations on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


class NotUnderstood(ValueError):  # noqa: N818 - an honest answer, not a fault
    """The request, or a part of it, is beyond this grammar; the text is that part."""


@dataclass(frozen=True)
class Number:
    """A number as it was written, `10` or `2.5`."""

    digits: str

    @property
    def value(self) -> int | float:
        """Return it as an exact integer where it is one."""
        return float(self.digits) if set(self.digits) & set(".eE") else int(self.digits)


@dataclass(frozen=True)
class Text:
    """A text as it stood between quotes."""

    value: str


@dataclass(frozen=True)
class Reference:
    """Something that was said before: `it`, `the results`, `the word count`, `result of s1`."""

    what: str = "previous"


@dataclass(frozen=True)
class Operation:
    """An operation by its name in `operations`, with its operands in that order."""

    name: str
    operands: tuple[Value, ...]


Value: TypeAlias = Number | Text | Reference | Operation

PREVIOUS = Reference("previous")
ALL = Reference("all")


def folded(name: str, values: list[Value]) -> Operation:
    """Chain a two-sided operation over values from the left; one value stays alone.

    One value stands for all results; how many these are is known only once it is resolved.
    """
    if len(values) == 1:
        return Operation(name, (values[0],))
    first, second, *others = values
    chain = Operation(name, (first, second))
    for value in others:
        chain = Operation(name, (chain, value))
    return chain
