"""A model's answer as tool calls: its schema, what is wrong with it, and how it is read.

`"previous"` in arguments is marked when a call is read, before templates are resolved: so no output
of an earlier step can pass for it, whatever it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from starlings.choreography.context import resolve
from starlings.llm.prompts import PREVIOUS
from starlings.messages import StepFailed, StepReady

from .agent import Agent
from .tools import Tool
from .values import clean_text, json_value

MAX_CALLS = 32
_REASONING_LIMIT = 500


class _Previous:
    """Stands in arguments for the output of the call before; compared by `is`."""


_PREVIOUS = _Previous()


@dataclass(frozen=True)
class PlannedCall:
    """One call that a model wants made."""

    tool: Tool
    args: dict[str, Any]
    reasoning: str = ""

    def waiting(self) -> list[str]:
        """Name the arguments that wait for the output of the call before."""
        return [name for name, value in self.args.items() if _is_marked(value)]

    def filled(self, previous: JsonValue) -> dict[str, JsonValue]:
        """Return the arguments with the output of the call before put in."""
        filled: dict[str, JsonValue] = _replace(
            self.args, lambda leaf: previous if leaf is _PREVIOUS else leaf
        )
        return filled


def answer_schema(agent: Agent) -> dict[str, Any]:
    """Build the JSON Schema of an answer; tools are named, their arguments checked afterwards."""
    call = {
        "type": "object",
        "properties": {
            "tool": {"type": "string", "enum": list(agent.tools)},
            "args": {"type": "object"},
            "reasoning": {"type": "string"},
        },
        "required": ["tool", "args", "reasoning"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "calls": {"type": "array", "items": call, "maxItems": MAX_CALLS},
            "cannot": {"type": ["string", "null"]},
        },
        "required": ["calls", "cannot"],
        "additionalProperties": False,
    }


def adapt_answer(answer: Any) -> Any:
    """Bring what models commonly write instead into shape: a bare list, or one bare call."""
    if isinstance(answer, dict) and "tool" in answer and "calls" not in answer:
        answer = [answer]
    if isinstance(answer, list):
        answer = {"calls": answer}
    if not isinstance(answer, dict):
        return answer
    if "calls" not in answer and isinstance(answer.get("cannot"), str):
        answer = {**answer, "calls": []}
    return {**answer, "cannot": answer.get("cannot")}


def answer_problems(
    answer: Any, agent: Agent, ready: StepReady, *, has_previous: bool
) -> list[str]:
    """List all that is wrong with an answer; `has_previous`: calls have been made before it."""
    if not isinstance(answer, dict) or not isinstance(answer.get("calls"), list):
        return ['the answer has to be an object with a list of "calls"']
    calls = answer["calls"]
    cannot = answer.get("cannot")
    if not calls:
        given = isinstance(cannot, str) and cannot.strip()
        return [] if given else ['there are no "calls", and no reason in "cannot"']
    if cannot:
        return ['there are "calls" and a reason in "cannot"; give the one or the other']
    if len(calls) > MAX_CALLS:
        return [f"there are {len(calls)} calls, and the limit is {MAX_CALLS}"]
    return [
        f"call {number}: {problem}"
        for number, call in enumerate(calls, 1)
        for problem in _call_problems(call, agent, ready, has_previous=has_previous or number > 1)
    ]


def read_calls(answer: Any, agent: Agent, ready: StepReady) -> list[PlannedCall]:
    """Read the calls of an answer that has no problems."""
    return [_read(call, agent, ready) for call in answer["calls"]]


def _call_problems(call: Any, agent: Agent, ready: StepReady, *, has_previous: bool) -> list[str]:
    if not isinstance(call, dict) or not isinstance(call.get("args"), dict):
        return ['it has to be an object with "tool" and "args" (an object)']
    if not isinstance(call.get("tool"), str) or call["tool"] not in agent.tools:
        return [f"there is no tool {call.get('tool')!r}; there are {', '.join(agent.tools)}"]
    try:
        read = _read(call, agent, ready)
    except StepFailed as error:
        return [str(error)]
    waiting = read.waiting()
    problems = read.tool.problems(read.args, unknown=waiting)
    if waiting and not has_previous:
        problems.append(
            f'"{PREVIOUS}" in {waiting[0]!r} stands for the output of the call before, and there '
            "is none before the first; write the value itself"
        )
    return problems


def _read(call: dict[str, Any], agent: Agent, ready: StepReady) -> PlannedCall:
    json_value(call["args"], "the object of arguments")
    marked = _replace(call["args"], lambda leaf: _PREVIOUS if leaf == PREVIOUS else leaf)
    args = resolve(ready.model_copy(update={"task": "", "input": None, "args": marked})).args
    reasoning = call.get("reasoning")
    words = clean_text(reasoning)[:_REASONING_LIMIT] if isinstance(reasoning, str) else ""
    return PlannedCall(agent.tools[call["tool"]], args or {}, words)


def _replace(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _replace(inner, change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replace(inner, change) for inner in value]
    return change(value)


def _is_marked(value: Any) -> bool:
    return any(leaf is _PREVIOUS for leaf in _leaves(value))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value
