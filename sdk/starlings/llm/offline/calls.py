"""Choose the tool calls for a task, with results of earlier steps as arguments."""

from __future__ import annotations

import math
import re
from typing import Any

from starlings.llm.prompts import PREVIOUS, TaskMessage, ToolLine

from .expressions import NotUnderstood, Number, Operation, Reference, Text, Value
from .grammar import parse
from .operations import AGENT_NAMES, NUMERIC_ROLES, OPERATIONS, Area, Known
from .resolution import Earlier, Memory

_NUMBERS = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w)")
_CUT_OFF = "…"
_ARGUMENT_NAMES = {
    "text": ("text", "string", "sentence", "value", "s", "input", "word"),
    "old": ("old", "search", "find", "target", "what", "old_text"),
    "new": ("new", "replacement", "replace_with", "with_text", "new_text", "by"),
    "part": ("part", "substring", "needle", "letter", "word", "pattern", "search"),
    "count": ("count", "times", "n", "number"),
    "place": ("place", "city", "location", "town"),
}


def make_calls(message: TaskMessage, tools: list[ToolLine]) -> list[dict[str, Any]]:
    """Return the calls for a task.

    Raises:
        NotUnderstood: a part of it is beyond the rules, or no tool here does it.
    """
    chooser = _Chooser(message, tools)
    for clause in parse(message.task):
        chooser.add(clause.value)
    return chooser.calls


class _Chooser:
    def __init__(self, message: TaskMessage, tools: list[ToolLine]) -> None:
        self._tools = tools
        self._results = {str(row.get("step")): row for row in message.results}
        self._memory = Memory()
        self.calls: list[dict[str, Any]] = []
        for step, row in self._results.items():
            self._memory.remember(Earlier(step, _area_of(str(row.get("agent")))))

    def add(self, operation: Operation) -> None:
        """Add the calls of one clause."""
        resolved = self._memory.resolve(operation)
        key = self._add_call(resolved)
        known = OPERATIONS[operation.name]
        self._memory.remember(Earlier(key, known.area, known.name))

    def _add_call(self, operation: Operation) -> str:
        known = OPERATIONS[operation.name]
        tool = self._tool_for(known)
        nested = [operand for operand in operation.operands if isinstance(operand, Operation)]
        if len(nested) > 1:
            raise NotUnderstood("two intermediate results at once; make them steps of their own")
        for inner in nested:
            self._add_call(inner)
        values = [
            self._value(operand, numeric=role in NUMERIC_ROLES)
            for role, operand in zip(known.roles, operation.operands, strict=True)
        ]
        args = dict(zip(_argument_names(known, tool), values, strict=True))
        reasoning = f"{known.name.replace('_', ' ')}: the task asks for it"
        self.calls.append({"tool": tool.name, "args": args, "reasoning": reasoning})
        return f"call:{len(self.calls)}"

    def _tool_for(self, known: Known) -> ToolLine:
        for name in known.tools:
            for tool in self._tools:
                if fits(tool, name, known):
                    return tool
        raise NotUnderstood(f"{known.name!r} without a tool for it, such as {known.tools[0]!r}")

    def _value(self, operand: Value, *, numeric: bool) -> Any:
        if isinstance(operand, Operation):
            return PREVIOUS  # it is the call just before
        if isinstance(operand, Reference):
            return self._result(operand.what.removeprefix("step:"), numeric=numeric)
        if isinstance(operand, Text):
            if operand.value == PREVIOUS:
                raise NotUnderstood(f"the text {PREVIOUS!r}, which has a meaning of its own here")
            return operand.value
        return operand.digits if not numeric else _number(operand)

    def _result(self, key: str, *, numeric: bool) -> Any:
        if key == f"call:{len(self.calls)}":
            return PREVIOUS
        row = self._results.get(key)
        if row is None:
            raise NotUnderstood("a result from before the previous call")
        summary = row.get("summary")
        if not isinstance(summary, str):
            raise NotUnderstood(f"the result of {key}, which failed")
        if numeric:
            return _only_number(summary, key)
        if summary.endswith(_CUT_OFF):
            raise NotUnderstood(f"the result of {key}, of which only a summary is here")
        return summary


def fits(tool: ToolLine, name: str, known: Known) -> bool:
    """Tell whether a tool has this name and takes all operands of an operation."""
    return tool.name.lower() == name and len(tool.arguments) >= len(known.roles)


def _area_of(agent: str) -> Area | None:
    return next((area for area, names in AGENT_NAMES.items() if agent in names), None)


def _number(number: Number) -> int | float:
    try:
        value = number.value
    except ValueError:  # more digits than Python reads
        value = math.inf
    if not math.isfinite(value):
        raise NotUnderstood(f"a number as large as {number.digits[:20]}…")
    return value


def _only_number(summary: str, key: str) -> int | float:
    """Read a number out of a result such as "50" or "18.5 °C, cloudy"."""
    found = _NUMBERS.findall(summary)
    if len(found) != 1:
        raise NotUnderstood(f"which number of the result of {key} is meant: {summary[:80]!r}")
    return _number(Number(found[0]))


def _argument_names(known: Known, tool: ToolLine) -> list[str]:
    """Match operands to the tool's arguments, by name where all are telling, else by order."""
    by_name = []
    for role in known.roles:
        names = _ARGUMENT_NAMES.get(role, ())
        by_name.append(next((name for name in names if name in tool.arguments), None))
    named = [name for name in by_name if name is not None]
    if len(set(named)) == len(known.roles):
        return named
    return list(tool.arguments[: len(known.roles)])
