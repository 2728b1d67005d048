"""Recorded logs in which one thing is otherwise."""

from __future__ import annotations

import json
from typing import Any

from .records import LOGS, kafka_record
from .replay import read_lines


def of(records: list[Any], ident: str) -> Any:
    """Find the record of an id."""
    return next(record for record in records if dict(record.headers)["ce_id"] == ident.encode())


def numbered(records: list[Any]) -> list[Any]:
    """Give records the offsets of a log without gaps."""
    return [with_fields(record, offset=n) for n, record in enumerate(records)]


def with_fields(record: Any, **changes: Any) -> Any:
    return record.__class__(**{**record.__dict__, **changes})


def with_value(record: Any, **changes: Any) -> Any:
    value = json.loads(record.value)
    value.update(changes)
    return with_fields(record, value=json.dumps(value).encode())


def without_field(record: Any, name: str) -> Any:
    value = json.loads(record.value)
    value.pop(name, None)
    return with_fields(record, value=json.dumps(value).encode())


def with_headers(record: Any, **changes: str) -> Any:
    headers = dict(record.headers) | {name: value.encode() for name, value in changes.items()}
    return with_fields(record, headers=tuple(headers.items()))


def in_place(records: list[Any], changed: Any) -> list[Any]:
    """Put a changed record where it belongs."""
    return [changed if record.offset == changed.offset else record for record in records]


def later(records: list[Any], ident: str) -> list[Any]:
    """Let a record come last."""
    moved = of(records, ident)
    return numbered([r for r in records if r is not moved] + [moved])


def is_published(record: Any) -> bool:
    """Tell whether a record is of a coordinator: words of people count each time."""
    kind = dict(record.headers)["ce_type"].decode().split(".")[1]
    return kind.endswith(("_scheduled", "_skipped", "_fired", "_abandoned", "run_done", "_amended"))


def foreign(value: bytes, *, key: bytes = b"demo", **headers: str) -> Any:
    named = tuple((name, text.encode()) for name, text in headers.items())
    line = read_lines(LOGS / "demo.jsonl")[0]
    return kafka_record(line, value=value, key=key, headers=named)


def others(records: list[Any]) -> list[Any]:
    """Let another run have the same story after it."""
    made = []
    for record in records:
        headers = {name: value.replace(b"demo", b"other") for name, value in record.headers}
        value = record.value.replace(b'"demo', b'"other')
        offset = record.offset + len(records)
        changes = {"value": value, "headers": tuple(headers.items()), "offset": offset}
        made.append(with_fields(record, **changes))
    return made
