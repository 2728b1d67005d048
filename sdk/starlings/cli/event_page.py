"""One record as a whole: where it lies, its headers, its value; read, or raw as it lies there."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.replay.entries import Entry

from .event_rows import clock
from .printing import clean, print_table, printable


def print_record(console: Console, entry: Entry) -> None:
    """Show what a record is, and its value as indented JSON."""
    record = entry.record
    facts = {
        "Place": f"{record.topic}/{record.partition}/{record.offset}",
        "Time": clock(record.timestamp),
        "Type": entry.type or "?",
        "Id": entry.id,
        "Run": entry.run_id or "",
        "Cause": entry.cause or "",
        "Size": f"{len(record.value or b''):,} bytes",
    }
    for name, value in facts.items():
        if value:
            console.print(Text.assemble((f"{name:<7}", "bold"), clean(value)), soft_wrap=True)
    if entry.problem:
        console.print(Text(f"Problem  {clean(entry.problem, 1000)}", style="yellow"))
    console.print()
    console.print(Text(_indented(record.value)), soft_wrap=True)


def print_raw(console: Console, entry: Entry) -> None:
    """Show headers and value as they lie there; what could steer a terminal is escaped."""
    record = entry.record
    place = f"{record.topic}/{record.partition}/{record.offset}"
    console.print(Text(f"{place}  {record.timestamp} ms", style="bold"), soft_wrap=True)
    rows: list[list[str | Text]] = [["key", _bytes(record.key)]]
    rows += [[clean(name), _bytes(value)] for name, value in record.headers]
    print_table(console, ("header", "value"), rows)
    console.print()
    console.print(Text(_bytes(record.value)), soft_wrap=True)


def _bytes(value: bytes | None) -> str:
    if value is None:
        return "(none)"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return repr(value)[2:-1]
    return text if text.isprintable() else json.dumps(text, ensure_ascii=True)[1:-1]


def _indented(value: bytes | None) -> str:
    if value is None:
        return "(no value)"
    try:
        data: Any = json.loads(value)
    except (ValueError, RecursionError):
        return _bytes(value)
    return printable(json.dumps(data, ensure_ascii=False, indent=2))
