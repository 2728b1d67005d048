"""The offline rules in a conversation with tools: one call a turn, then the last result in words.

Nothing is remembered between turns: the calls of the whole task are chosen anew each time, and as
many are taken to be made as results have come back. A call that failed ends it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlings.llm.prompts import PREVIOUS, TaskMessage, ToolLine

from .calls import make_calls

Call = dict[str, Any]


class CannotGoOn(Exception):  # noqa: N818 - says what is the case
    """A call failed, and the rules know no other way."""


def next_turn(
    message: TaskMessage, tools: Sequence[ToolLine], results: Sequence[str]
) -> tuple[str, list[Call]]:
    """Return the text or the one call of the next turn.

    Raises:
        NotUnderstood: a part of the task is beyond the rules, or no tool here does it.
        CannotGoOn: a call failed.
    """
    calls = make_calls(message, list(tools))
    made = [_read(result) for result in results]
    failed = next((result["error"] for result in made if "error" in result), None)
    if failed is not None:
        raise CannotGoOn(failed)
    last = made[-1].get("output") if made else None
    if len(made) >= len(calls):
        return last if isinstance(last, str) else json.dumps(last, ensure_ascii=False), []
    call = calls[len(made)]
    args = {name: last if value == PREVIOUS else value for name, value in call["args"].items()}
    return "", [{"name": call["tool"], "arguments": json.dumps(args, ensure_ascii=False)}]


def declared_tools(tools: Any) -> list[ToolLine]:
    """Read the tools of a request; what is no tool is left out."""
    found = []
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            parameters = function.get("parameters")
            known = parameters.get("properties") if isinstance(parameters, dict) else None
            names = tuple(known) if isinstance(known, dict) else ()
            found.append(ToolLine(function["name"], names, str(function.get("description") or "")))
    return found


def _read(result: str) -> dict[str, Any]:
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        value = None
    known = isinstance(value, dict) and ("output" in value or "error" in value)
    return value if known else {"output": result}
