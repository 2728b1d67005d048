"""Whether a recorded message says what today's code would say, and else the first place it differs.

- What was written by this version is the same bytes, and nothing has to be read.
- A field that the record lacks and that this version would write was not known to its writer: an
  older version. That is no difference. So the newer optional fields, which are written where they
  say something only (`exclude_if`), are compared where they stand in the record. Where a message
  leaves its nulls out, the absence of any other field says null.
- Values of agents and plans are JSON: the order of an object's keys means nothing, and `1`, `1.0`
  and `true` are three.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json, to_jsonable_python

from starlings.messages import Message


class Mismatch(NamedTuple):
    """The first place where two messages differ, such as `steps[2].output`."""

    path: str
    recorded: Any
    expected: Any


def mismatch(recorded: Message, expected: Message) -> Mismatch | None:
    """Find the first difference; None where there is none."""
    return _models(recorded, expected, "", nulls=not expected.leaves_nulls_out())


def _models(recorded: BaseModel, expected: BaseModel, path: str, *, nulls: bool) -> Mismatch | None:
    if type(recorded) is not type(expected):
        return _told(path, recorded, expected)
    for name, field in type(expected).model_fields.items():
        ours = getattr(expected, name)
        where = f"{path}.{name}" if path else name
        if name in recorded.model_fields_set:
            found = _values(getattr(recorded, name), ours, where, nulls=nulls)
        elif _was_unknown(field, nulls=nulls):
            continue
        else:
            default = field.get_default(call_default_factory=True)
            found = _values(default, ours, where, nulls=nulls)
        if found is not None:
            return found
    return None


def _was_unknown(field: FieldInfo, *, nulls: bool) -> bool:
    """Tell whether the absence of a field may mean that its writer did not know it."""
    return nulls or field.exclude_if is not None


def _values(recorded: Any, expected: Any, path: str, *, nulls: bool) -> Mismatch | None:
    if isinstance(recorded, BaseModel) and isinstance(expected, BaseModel):
        return _models(recorded, expected, path, nulls=nulls)
    if _are_models(recorded) and _are_models(expected) and len(recorded) == len(expected):
        for number, (theirs, ours) in enumerate(zip(recorded, expected, strict=True)):
            found = _models(theirs, ours, f"{path}[{number}]", nulls=nulls)
            if found is not None:
                return found
        return None
    return None if _is_same(recorded, expected) else _told(path, recorded, expected)


def _are_models(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and isinstance(value[0], BaseModel)


def _is_same(recorded: Any, expected: Any) -> bool:
    ours = to_json(expected, serialize_unknown=True)
    return bool(to_json(recorded, serialize_unknown=True) == ours) or (
        canonical(recorded) == canonical(expected)
    )


def canonical(value: Any) -> str:
    """Write a value as JSON such that the order of keys does not matter."""
    plain = to_jsonable_python(value, serialize_unknown=True)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _told(path: str, recorded: Any, expected: Any) -> Mismatch:
    return Mismatch(
        path, *(to_jsonable_python(v, serialize_unknown=True) for v in (recorded, expected))
    )
