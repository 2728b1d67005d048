"""Conversations with tools for servers to which no tools can be declared.

The tools are listed in the system message, calls are JSON that the model writes, and results come
as messages of the user: JSON between tags that it cannot close.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlings.messages.registry import ToolDefinition

from .chat import MAX_CALLS
from .parsing import UnreadableAnswer, parse_answer
from .prompts import RESULTS_CLOSE, RESULTS_OPEN, tool_list
from .reply import Reply, WantedCall

_FORM = f"""\
Call tools by answering with one JSON object:
{{"calls": [{{"tool": "…", "args": {{…}}}}], "answer": null}}
The results come back to you in the next message. When you need no more tools, answer with
{{"calls": [], "answer": "…"}}
Make {MAX_CALLS} calls at the most in one answer."""


def as_words(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolDefinition]
) -> list[dict[str, Any]]:
    """Write a conversation with tools as one of plain messages."""
    told = f"{tool_list(tools)}\n\n{_FORM}"
    written: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        plain = _plain(message, names)
        if written and plain["role"] == "user" == written[-1]["role"]:
            # some models take no two messages of one side in a row
            plain = {"role": "user", "content": f"{written.pop()['content']}\n\n{plain['content']}"}
        written.append(plain)
    if written and written[0]["role"] == "system":
        written[0] = {"role": "system", "content": f"{written[0]['content']}\n\n{told}"}
        return written
    return [{"role": "system", "content": told}, *written]


def turn_schema(tools: Sequence[ToolDefinition]) -> dict[str, Any]:
    """Describe the JSON of a turn: calls, or an answer."""
    call = {
        "type": "object",
        "properties": {
            "tool": {"type": "string", "enum": [tool.name for tool in tools]},
            "args": {"type": "object"},
        },
        "required": ["tool", "args"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "calls": {"type": "array", "items": call, "maxItems": MAX_CALLS},
            "answer": {"type": ["string", "null"]},
        },
        "required": ["calls", "answer"],
        "additionalProperties": False,
    }


def read_turn(reply: Reply) -> Reply:
    """Read a turn that was asked for in words; prose is taken for the answer itself."""
    try:
        value = parse_answer(reply.text, _is_turn)
    except UnreadableAnswer:
        return reply
    calls = value.get("calls")
    wanted = tuple(_wanted(call) for call in calls) if isinstance(calls, list) else ()
    answer = value.get("answer")
    text = answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer)
    return reply.model_copy(update={"text": text, "calls": wanted})


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and ("calls" in value or "answer" in value)


def _wanted(call: Any) -> WantedCall:
    if not isinstance(call, dict):
        return WantedCall()
    name = call.get("tool") or call.get("name") or ""
    return WantedCall(name=str(name), arguments=call.get("args", call.get("arguments")))


def _plain(message: Mapping[str, Any], names: dict[str, str]) -> dict[str, Any]:
    content = message.get("content") or ""
    if message["role"] == "tool":
        call_id = str(message.get("tool_call_id"))
        data = str(content).replace("<", "\\u003c")
        said = f"Result of {names.get(call_id, 'a call')}:\n{RESULTS_OPEN}\n{data}\n{RESULTS_CLOSE}"
        return {"role": "user", "content": said}
    calls = message.get("tool_calls")
    if message["role"] != "assistant" or not calls:
        return {"role": message["role"], "content": content}
    made = []
    for call in calls:
        function = call["function"]
        names[str(call["id"])] = function["name"]
        made.append({"tool": function["name"], "args": json.loads(function["arguments"])})
    turn = {"calls": made, "answer": None}
    return {"role": "assistant", "content": json.dumps(turn, ensure_ascii=False)}
