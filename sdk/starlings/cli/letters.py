"""Dead letters as lines, as a page, and as JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich.text import Text

from starlings.client import Refused, SentBack
from starlings.client.redrive import Content, advice
from starlings.kafka.letters import Letter, LetterState
from starlings.messages import Topics

from .printing import clean, console, print_table, printable, say
from .times import iso, moment_text

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    LetterState.OPEN: "bold yellow",
    LetterState.REDRIVEN: "green",
    LetterState.DISCARDED: "dim",
}
HEX_BYTES = 512
VALUE_LIMIT = 100_000
HEAD = 9


def print_letters(found: list[Letter], limit: int, topics: Topics) -> None:
    """Print one line per letter."""
    rows: list[list[str | Text]] = []
    for letter in found[:limit]:
        last, buried = letter.last, len(letter.burials)
        rows.append(
            [
                clean(letter.id.removeprefix(topics.prefix)),
                Text(letter.state.value, style=STYLES[letter.state]),
                moment_text(last.at_ms),
                f"{buried}",
                clean(letter.run_id(topics)),
                clean(last.code),
                clean(last.message),
            ]
        )
    columns = ("letter", "state", "put aside", "times", "run", "code", "error")
    out = console()
    print_table(out, columns, rows, right=(3,), one_line=True)
    if len(found) > limit:
        out.print(f"and {len(found) - limit:,} more: --limit shows them", style="dim")


def print_letter(out: Console, letter: Letter, content: Content, topics: Topics) -> None:
    """Print all that is known about a letter."""
    last = letter.last
    for head, text in (
        ("Letter", clean(letter.id, 1_000)),
        ("State", letter.state.value),
        ("Error", printable(f"{last.code}: {last.message}")),
        ("Now", printable(str(content.problem)) if content.problem else ""),
        ("To do", printable(advice(letter, topics))),
        ("Run", clean(letter.run_id(topics))),
        ("Group", clean(last.group)),
        ("Lies at", str(last.place)),
        ("Key", printable(_text(content.key)) if content.key else ""),
    ):
        if text:
            say(out, Text(text), head=f"{head:<{HEAD}}", style="bold")
    _print_history(out, letter)
    out.print(Text("\nHeaders", style="bold"))
    for name, value in content.headers:
        out.print(Text(f"  {clean(name)}: {clean(_text(value), 1_000)}"), soft_wrap=True)
    out.print(Text("\nValue", style="bold"))
    out.print(Text(_value(content)), soft_wrap=True)


def _print_history(out: Console, letter: Letter) -> None:
    out.print(Text("\nHistory", style="bold"))
    for event in letter.history():
        by = f" by {event.by}" if event.by else ""
        said = clean(f"{event.what}{by}: {event.said}" if event.said else f"{event.what}{by}")
        out.print(Text(f"  {moment_text(event.at_ms)}  {said}"), soft_wrap=True)


def _value(content: Content) -> str:
    """Write a value as indented JSON, as text, or byte by byte."""
    value = content.value
    if value is None:
        return "(none)"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        more = f"\n… {len(value):,} bytes in all" if len(value) > HEX_BYTES else ""
        return f"{value[:HEX_BYTES].hex(' ', 2)}{more}"
    with suppress(ValueError, RecursionError):  # text, then
        text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    more = f"\n… {len(value):,} bytes in all; --json prints them" if len(text) > VALUE_LIMIT else ""
    return printable(text[:VALUE_LIMIT]) + more


def _text(value: bytes | None) -> str:
    if value is None:
        return ""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def letter_document(letter: Letter, topics: Topics) -> dict[str, Any]:
    """Describe a letter for programs."""
    last = letter.last
    return {
        "letter": letter.id,
        "state": letter.state.value,
        "topic": letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "type": letter.type or None,
        "run_id": letter.run_id(topics) or None,
        "group": last.group or None,
        "error": {"code": last.code, "message": last.message},
        "put_aside_at": iso(last.at_ms),
        "lies_at": str(last.place),
        "size_bytes": last.size_bytes,
        "redrives": letter.redrives,
        "history": [
            {"at": iso(e.at_ms), "what": e.what, "said": e.said, "by": e.by or None}
            for e in letter.history()
        ],
        "to_do": advice(letter, topics),
    }


def content_document(letter: Letter, content: Content, topics: Topics) -> dict[str, Any]:
    """Describe a letter with what it holds; bytes that are no text are written in hexadecimal."""
    value = content.value
    try:
        text = None if value is None else value.decode()
    except UnicodeDecodeError:
        text = None
    return {
        **letter_document(letter, topics),
        "readable_now": content.problem is None,
        "problem": str(content.problem) if content.problem else None,
        "key": _text(content.key) if content.key is not None else None,
        "headers": [[name, _text(each)] for name, each in content.headers],
        "value": text,
        "value_hex": value.hex() if value is not None and text is None else None,
    }


def outcome_document(outcome: SentBack | Refused) -> dict[str, Any]:
    """Describe what became of a redrive."""
    if isinstance(outcome, SentBack):
        said = {"to": str(outcome.to), "count": outcome.count}
        return {"letter": outcome.letter.id, "redriven": True, **said}
    said = {"code": outcome.code, "why": outcome.why}
    return {"letter": outcome.letter.id, "redriven": False, **said}
