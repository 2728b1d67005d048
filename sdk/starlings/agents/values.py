"""What agents hand back: JSON, checked before it goes anywhere.

An output is brought into the form that its readers will see (written to JSON and read back), so
that a run in one process and a run over Kafka show the same values. Readers use Pydantic's parser:
integers of up to 4,300 digits arrive exact. (orjson turns those beyond 64 bits into floats, and so
must not read or write values.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from starlings.choreography.context import as_text, shorten
from starlings.messages import Amendment, Compensation, StepFailed, Usage

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
DIGITS_LIMIT = 4_300
DEPTH_LIMIT = 180
RECORDED_BYTES = 4_096

# The parser reads 200 levels. Messages that carry an output wrap it in a few more.
_WRAP = 200 - DEPTH_LIMIT
_OPEN, _CLOSE = b"[" * _WRAP, b"]" * _WRAP


@dataclass(frozen=True)
class Result:
    """What a step or tool may return to say more than its output.

    Attributes:
        output: any JSON-serialisable value; what steps that depend on this one receive.
        summary: a sentence for people and for models, up to 300 characters; None: derived.
        usage: what the step spent at a model's provider.
        undo: what would undo it. True: the agent's own `@agent.compensate`, where it has one;
            False: there is nothing to undo; a `Compensation`: that.
        amend: how the plan of the run shall change; what several tools of a step say is put
            together.
        replan: why the planner shall plan the run anew.
    """

    output: Any = None
    summary: str | None = None
    usage: Usage | None = None
    undo: Compensation | bool = True
    amend: Amendment | None = None
    replan: str | None = None


def json_value(value: Any, what: str) -> JsonValue:
    """Return a value as its readers will see it; `what` names it in errors.

    Raises:
        StepFailed: `output_not_json` or `output_too_large`.
    """
    try:
        plain = to_jsonable_python(value, inf_nan_mode="constants")
        data = to_json(plain, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise _not_json(what, str(error)) from None
    if len(data) > OUTPUT_LIMIT_BYTES:
        raise StepFailed(
            f"{what} has {len(data):,} bytes as JSON, and the limit is {OUTPUT_LIMIT_BYTES:,}; "
            "store it elsewhere and return its address",
            code="output_too_large",
        )
    shallow = data.count(b"[") + data.count(b"{") <= DEPTH_LIMIT
    try:
        if not shallow:
            from_json(_OPEN + data + _CLOSE, allow_inf_nan=False)
        result: JsonValue = from_json(data, allow_inf_nan=False)
    except ValueError:
        raise _not_json(what, _why_unreadable(plain)) from None
    return result


def recorded(value: JsonValue) -> JsonValue:
    """Shorten a value for the record of tool calls, where only the last one is the output."""
    if len(to_json(value)) <= RECORDED_BYTES:
        return value
    return shorten(as_text(value))


def summarise(output: JsonValue) -> str:
    """Put an output into a short text."""
    return "done" if output is None else shorten(as_text(output))


def clean_text(text: str) -> str:
    """Replace what UTF-8 cannot carry (lone surrogates)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _not_json(what: str, why: str) -> StepFailed:
    return StepFailed(
        f"{what} is not JSON-serialisable: {clean_text(why)}; return numbers, text, lists, "
        "dictionaries, dataclasses or Pydantic models of these",
        code="output_not_json",
    )


def _why_unreadable(plain: Any) -> str:
    for path, value in _leaves(plain, "output", DEPTH_LIMIT):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{path} is {value}, which JSON cannot carry"
        if isinstance(value, int) and abs(value) >= 10**DIGITS_LIMIT:
            return f"{path} is an integer of more than {DIGITS_LIMIT:,} digits"
    return f"it is nested more than {DEPTH_LIMIT} levels deep"


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth < 0:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}", depth - 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]", depth - 1)
    else:
        yield path, value
