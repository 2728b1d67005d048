"""Say an operation in words that the grammar reads back as the same operation."""

from __future__ import annotations

import re

from .expressions import NotUnderstood, Number, Operation, Reference, Text, Value
from .operations import OPERATIONS
from .tokens import QUOTES

_ROLE = re.compile(r"\{(\w+)!?\}")


def say(operation: Operation) -> str:
    """Write an operation as one task; what has to be done before comes first, ", then …"."""
    clauses: list[str] = []
    _say(operation, clauses)
    return ", then ".join(clauses)


def _say(operation: Operation, clauses: list[str]) -> None:
    known = OPERATIONS[operation.name]
    operands = dict(zip(known.roles, operation.operands, strict=True))
    for operand in operation.operands:
        if isinstance(operand, Operation):
            _say(operand, clauses)
    command = known.commands[0]
    clauses.append(_ROLE.sub(lambda role: _operand(operands[role[1]]), command))


def _operand(value: Value) -> str:
    if isinstance(value, Number):
        return value.digits
    if isinstance(value, Text):
        return quoted(value.value)
    if isinstance(value, Reference) and value.what.startswith("step:"):
        return f"the result of {value.what.removeprefix('step:')}"
    return "the result"


def quoted(text: str) -> str:
    """Put a text between quotes that do not occur in it."""
    for opening, closing in QUOTES.items():
        if opening not in text and closing not in text:
            return f"{opening}{text}{closing}"
    raise NotUnderstood("a text with every kind of quotes in it")
