"""A reply as a turn of a conversation with tools: its calls, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlings.messages.registry import ToolDefinition

from .chat import MAX_CALLS, CheckCall, ToolRequest
from .parsing import UnreadableAnswer, parse_answer
from .reply import Reply, WantedCall
from .text_calls import calls_in_text

Read = tuple[str, tuple[ToolRequest, ...]]


def read_turn(
    reply: Reply,
    tools: Sequence[ToolDefinition],
    check: CheckCall,
    given: Sequence[Mapping[str, Any]],
) -> tuple[Read, list[str]]:
    """Return text and calls of a reply, and what is wrong with them."""
    names = [tool.name for tool in tools]
    wanted, text = reply.calls, reply.text
    if tools and not wanted:
        wanted = calls_in_text(text, names, given)
        text = "" if wanted else text
    if not wanted:
        return (text, ()), [] if text.strip() else ["the answer is empty"]
    if not tools:
        return (text, ()), ["there are no tools to call; answer in words"]
    if len(wanted) > MAX_CALLS:
        return (text, ()), [f"there are {len(wanted)} calls, and the limit is {MAX_CALLS}"]
    calls, problems = _read_all(wanted, names, check)
    return (text, tuple(calls)), problems


def schema_problems(tools: Sequence[ToolDefinition]) -> CheckCall:
    """Make a check of arguments' names against the tools' schemas."""
    schemas = {tool.name: tool.parameters for tool in tools}

    def check(call: ToolRequest) -> list[str]:
        schema = schemas[call.name]
        known = schema.get("properties") or {}
        problems = [
            f"{call.name}: the argument {name!r} is missing"
            for name in schema.get("required") or []
            if name not in call.args
        ]
        if known or schema.get("additionalProperties") is False:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            problems += [
                f"{call.name}: there is no argument {name!r}; {takes}"
                for name in call.args
                if name not in known
            ]
        return problems

    return check


def _read_all(
    wanted: Sequence[WantedCall], names: Sequence[str], check: CheckCall
) -> tuple[list[ToolRequest], list[str]]:
    calls: list[ToolRequest] = []
    problems: list[str] = []
    ids = _ids(wanted)
    for number, (call, call_id) in enumerate(zip(wanted, ids, strict=True), 1):
        args, unreadable = _arguments(call.arguments)
        if call.name not in names:
            found = [f"there is no tool {call.name[:64]!r}; there are {', '.join(names)}"]
        elif args is None:
            found = [f"{call.name}: the arguments have to be a JSON object: {unreadable}"]
        else:
            calls.append(ToolRequest(id=call_id, name=call.name, args=args))
            found = check(calls[-1])
        problems += [f"call {number}: {problem}" for problem in found]
    return calls, problems


def _ids(wanted: Sequence[WantedCall]) -> Iterator[str]:
    """Yield ids that are unique in the turn; servers leave them out, or repeat them."""
    seen: set[str] = set()
    for number, call in enumerate(wanted, 1):
        call_id = call.id if call.id and call.id not in seen else f"call_{number}"
        while call_id in seen:
            call_id += "_"
        seen.add(call_id)
        yield call_id


def _arguments(given: Any) -> tuple[dict[str, Any] | None, str]:
    if isinstance(given, dict):
        return given, ""
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}, ""
    if not isinstance(given, str):
        return None, f"they are {json.dumps(given)[:60]}"
    try:
        read: dict[str, Any] = parse_answer(given, lambda value: isinstance(value, dict))
    except UnreadableAnswer as error:
        return None, str(error)
    return read, ""
