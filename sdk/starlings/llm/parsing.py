"""Find the JSON in a model's answer, tolerantly but honestly.

Tolerated: prose and code fences around it, a chain of thought in front, single quotes, trailing
commas, comments, Python's True and None, several values of which one is the answer, JSON in a
string. Never tolerated, because a repair would invent what the model did not say: JSON that ends in
the middle, and numbers that JSON does not have (NaN, Infinity).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import json_repair

from .well_formed import well_formed_json

_MAX_CHARS = 4_000_000
DEEPEST = 100  # what is nested more deeply no message could carry
_MAX_SPANS = 200  # an answer with more openings than this is no answer
_THOUGHT = re.compile(r"^\s*<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
_JSON_START = re.compile(
    r"""\{\s*(?:["'}]|//|/\*|[A-Za-z_]\w*\s*:)|\[\s*[\[\]{"'\d-]|\[\s*[tfnTFN]"""
)
_NOT_FINITE = re.compile(r"\b(?:NaN|Infinity|nan|inf(?:inity)?)\b")
_STRINGS = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""")
_ESCAPES = re.compile(r'\\.|"', re.DOTALL)
_CLOSES_QUOTE = re.compile(r"\s*(?:[,:}\]]|$)")

Accepts = Callable[[Any], bool]


class UnreadableAnswer(ValueError):  # noqa: N818 - said of the answer
    """An answer has no usable JSON; the text says why, so that the model can mend it."""


class _NotFiniteError(ValueError):
    pass


def any_container(value: Any) -> bool:
    """Accept any JSON object or array."""
    return isinstance(value, dict | list)


def parse_answer(text: str, accepts: Accepts = any_container) -> Any:
    """Return the first JSON value in an answer that `accepts` takes.

    Raises:
        UnreadableAnswer: the answer is empty, has no JSON, is cut off, has NaN or Infinity, or no
            value in it is accepted.
    """
    text = _THOUGHT.sub("", text.removeprefix("\ufeff")).strip()
    if not text:
        raise UnreadableAnswer("the answer is empty")
    if len(text) > _MAX_CHARS:
        raise UnreadableAnswer(f"the answer has {len(text):,} characters; answer in fewer")
    whole = _strict(text)
    if isinstance(whole, str):  # JSON within a JSON string
        return parse_answer(whole, accepts) if any_container(_strict(whole)) else _refuse(text)
    if accepts(whole):
        return whole
    found = False
    for span in _spans(text):
        value = _read(span)
        found = found or any_container(value)
        if accepts(value):
            return value
    return _refuse(text, found=found)


def _refuse(text: str, *, found: bool = False) -> Any:
    if found:
        raise UnreadableAnswer("the JSON in the answer does not have the shape that was asked for")
    raise UnreadableAnswer(f"the answer has no JSON in it; it begins with {text[:60]!r}")


def _spans(text: str) -> Iterator[str]:
    """Yield every outermost balanced object or array.

    Raises:
        UnreadableAnswer: one is opened and never closed. What lies inside it is not looked at: it
            would be a part of the answer taken for the whole.
    """
    position = 0
    for _ in range(_MAX_SPANS):
        start = _JSON_START.search(text, position)
        if start is None:
            return
        end = _end_of(text, start.start())
        if end is None:
            raise UnreadableAnswer(
                "the JSON is cut off: it ends before all its brackets and quotes are closed"
            )
        yield text[start.start() : end]
        position = end


def _end_of(text: str, start: int) -> int | None:
    """Find where the bracket at `start` is closed; None where it is not."""
    open_brackets = 0
    position = start
    while position < len(text):
        char = text[position]
        if char in "\"'":
            end = _end_of_string(text, position)
            if end is None:
                return None
            position = end
            continue
        if char in "{[":
            open_brackets += 1
        elif char in "}]":
            open_brackets -= 1
            if open_brackets == 0:
                return position + 1
        position += 1
    return None


def _end_of_string(text: str, start: int) -> int | None:
    """Find the end of a string; an apostrophe within single quotes does not end it."""
    quote = text[start]
    if quote == "'" and text[start - 1].isalnum():
        return start + 1  # an apostrophe outside of strings, in a comment for instance
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == quote and (quote == '"' or _CLOSES_QUOTE.match(text, position + 1)):
            return position + 1
        position += 1
    return None


def _read(span: str) -> Any:
    value = _strict(span)
    if value is not None:
        return value
    if _NOT_FINITE.search(_STRINGS.sub('""', span)):
        raise UnreadableAnswer(_NOT_FINITE_TEXT)
    doubled = _double_quoted(span)
    value = _strict(doubled)
    if value is not None:
        return value
    try:
        repaired = _not_too_deep(json_repair.loads(doubled, skip_json_loads=True))
        repaired = well_formed_json(repaired, doubled)
    except UnreadableAnswer:
        raise
    except (ValueError, RecursionError):
        return None
    return repaired if _all_finite(repaired) else None


def _double_quoted(span: str) -> str:
    """Put strings between double quotes, which repairing gets wrong where apostrophes occur."""
    parts: list[str] = []
    position = 0
    while position < len(span):
        end = _end_of_string(span, position) if span[position] in "\"'" else None
        if end is None or end == position + 1:  # no string, or an apostrophe outside of one
            parts.append(span[position])
            position += 1
            continue
        text = span[position:end]
        if text[0] == "'":
            text = f'"{_ESCAPES.sub(_escape, text[1:-1])}"'
        parts.append(text)
        position = end
    return "".join(parts)


def _escape(found: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])


def _strict(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite_float)
        return well_formed_json(_not_too_deep(value), text)
    except UnreadableAnswer:
        raise
    except _NotFiniteError:
        raise UnreadableAnswer(_NOT_FINITE_TEXT) from None
    except (ValueError, RecursionError):
        return None


def too_deep(value: Any) -> bool:
    """Say whether lists and objects are nested more than `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return False
    return any(isinstance(each, dict | list) for each in level)


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _not_too_deep(value: Any) -> Any:
    if too_deep(value):
        raise UnreadableAnswer(f"the JSON is nested more than {DEEPEST} levels deep")
    return value


_NOT_FINITE_TEXT = "the JSON has NaN or Infinity in it, which are no JSON numbers; use null"


def _no_constant(name: str) -> Any:
    raise _NotFiniteError(name)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _NotFiniteError(text)
    return value


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_all_finite(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_all_finite(inner) for inner in value)
    return not isinstance(value, float) or math.isfinite(value)
