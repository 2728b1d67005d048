"""Tool calls that a model wrote into its text, since its server does not read them out of it.

Found: a call between `<tool_call>` tags or behind `[TOOL_CALLS]`, in `<function=name>` tags, in a
fence, or as the whole text. They are treated like declared ones, and checked like them.

A call that stands in the same words in what the model was given (a web page, a result of a tool) is
a quotation, not a call: else whoever writes that page would call the tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .parsing import UnreadableAnswer, parse_answer
from .reply import WantedCall

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
_TAGGED = re.compile(r"<(tool_calls?|function_calls?)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"<function=([\w.-]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_BEHIND = re.compile(r"(?:\[TOOL_CALLS\]|<\|python_tag\|>)(.*)", re.DOTALL)
_FENCED = re.compile(r"```[\w-]*[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)
_NAMES = ("name", "tool", "tool_name", "function")
_ARGUMENTS = ("arguments", "args", "parameters", "input", "tool_input")
_BESIDE = frozenset({"id", "type", "reasoning", "thought", *_NAMES, *_ARGUMENTS})
_LISTS = ("tool_calls", "calls")
_DEEPEST = 20


def calls_in_text(
    text: str, names: Collection[str], given: Sequence[Mapping[str, Any]]
) -> tuple[WantedCall, ...]:
    """Find the calls in a text.

    Args:
        text: what the model wrote.
        names: the declared tools; in a fence, only calls of these are calls.
        given: the conversation so far.
    """
    text = _THOUGHT.sub("", text).strip()
    found: list[WantedCall] = []
    quoted: str | None = None
    for span, marked in _spans(text):
        for name, arguments, item in _read(span):
            if not (marked or name in names):
                continue
            if quoted is None:
                quoted = _given(given)
            if _compact(span) in quoted or _compact(_written(item)) in quoted:
                continue
            found.append(WantedCall(name=name, arguments=arguments))
    return tuple(found)


def _spans(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the places where calls may stand; marked ones can be nothing else."""
    functions = [(f[1], f[2]) for f in _FUNCTION.finditer(text)]
    if functions:
        for name, arguments in functions:
            yield f'{{"name": {json.dumps(name)}, "arguments": {arguments.strip() or "{}"}}}', True
        return
    marked = [found[2] for found in _TAGGED.finditer(text)]
    marked = marked or [found[1] for found in _BEHIND.finditer(text)]
    if marked:
        yield from ((span, True) for span in marked)
    elif text.startswith(("{", "[")):
        yield text, True
    else:
        yield from ((found[1], False) for found in _FENCED.finditer(text))


def _read(span: str) -> Iterator[tuple[str, Any, Any]]:
    try:
        value = parse_answer(span)
    except UnreadableAnswer:
        return
    listed = _listed(value)
    calls = [_call(item) for item in listed]
    for item, call in zip(listed, calls, strict=True):
        if call is not None and None not in calls:  # a list of other things is an answer
            yield call[0], call[1], item


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        for name in _LISTS:
            if isinstance(value.get(name), list):
                return list(value[name])
        return [value]
    return list(value) if isinstance(value, list) else []


def _call(item: Any) -> tuple[str, Any] | None:
    if not isinstance(item, dict) or not item.keys() <= _BESIDE:
        return None
    if isinstance(item.get("function"), dict):
        return _call(item["function"])
    name = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), None)
    arguments = [item[key] for key in _ARGUMENTS if key in item]
    return (name, arguments[0]) if name and arguments else None


# -- what the model was given ------------------------------------------------------------------


def _given(messages: Sequence[Mapping[str, Any]]) -> str:
    texts: list[str] = []
    for message in messages:
        if message.get("role") in {"user", "tool"}:
            texts.extend(_texts(message.get("content"), 0))
    return "\0".join(_compact(text) for text in texts)


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield a text, and the texts and calls within the JSON that it may be."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield value
        try:
            inner = json.loads(value) if value.lstrip()[:1] in {"{", "[", '"'} else None
        except (ValueError, RecursionError):
            inner = None
        if inner is not None:
            yield from _texts(inner, depth + 1)
    elif isinstance(value, dict | list):
        yield _written(value)
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each, depth + 1)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _compact(text: str) -> str:
    return "".join(text.split())
