"""A record as one line: when, where, what, about which step, and what it says in short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from starlings.choreography.context import as_text
from starlings.messages import (
    ApprovalRequested,
    CompensationAbandoned,
    DomainEvent,
    EventHandled,
    PlanCreated,
    PlanRejected,
    RunForked,
    RunSnapshot,
    StepProgress,
    TimerFired,
    UndecodableMessage,
)
from starlings.replay.archive import line_of
from starlings.replay.entries import Entry

from .printing import clean, print_table
from .times import iso, moment

COLUMNS = ("time", "place", "run", "type", "step", "agent", "outcome", "")
_BAD = frozenset(
    {"error", "failed", "compensated", "compensation_failed", "rejected", "partial", "cancelled"}
)
_ROOM = (
    (18, "dim"),
    (6, "dim"),
    (21, ""),
    (14, ""),
    (4, "bold"),
    (8, "cyan"),
    (5, ""),
    (0, ""),
)
_WORDS = ("summary", "text", "reason", "request", "task", "comment", "name", "kind")


class Cells(NamedTuple):
    """A record in the columns of a list."""

    time: str
    place: str
    run: str
    type: Text
    step: str
    agent: str
    outcome: Text
    said: Text


def cells(entry: Entry, prefix: str = "") -> Cells:
    """Lay a record out."""
    message: Any = entry.received.message if entry.received else None
    topic = entry.record.topic.removeprefix(prefix)
    place = f"{entry.record.partition}/{entry.record.offset}"
    outcome = _outcome(message)
    return Cells(
        clock(entry.record.timestamp),
        place if topic == "events" else f"{topic}/{place}",
        clean(entry.run_id or "", 40),
        Text(clean(entry.type or "?", 40), style="" if message is not None else "yellow"),
        _step(message),
        clean(_agent(message), 40),
        Text(outcome, style="red" if outcome in _BAD else "green" if outcome else ""),
        Text(clean(entry.problem), style="yellow") if entry.problem else Text(told(message)),
    )


def clock(at_ms: int) -> str:
    """Write a moment to the millisecond, with its day."""
    at = moment(at_ms)
    return f"{at:%m-%d %H:%M:%S}.{at_ms % 1000:03d}" if at else f"{at_ms} ms"


def _agent(message: Any) -> str:
    agent, variant = getattr(message, "agent", None), getattr(message, "variant", None)
    return f"{agent}.{variant}" if agent and variant else agent or ""


def _step(message: Any) -> str:
    step_id, attempt = getattr(message, "step_id", None), getattr(message, "attempt", None)
    again = f" #{attempt}" if step_id and attempt and attempt > 1 else ""
    return clean(f"{step_id or ''}{again}", 40)


def _outcome(message: Any) -> str:
    return str(getattr(message, "outcome", None) or "")


def told(message: Any) -> str:
    """Say in short what a message says."""
    special = _TOLD.get(type(message))
    if special is not None:
        return clean(special(message))
    error = getattr(message, "error", None)
    if error is not None:
        return clean(f"{error.code}: {error.message}")
    problems = getattr(message, "problems", None)
    if problems:
        return clean("; ".join(map(str, problems)))
    for name in _WORDS:
        if said := getattr(message, name, None):
            return clean(said)
    output = getattr(message, "output", None)
    return "" if output is None else clean(as_text(output))


def _plan(fact: PlanCreated) -> str:
    count = len(fact.plan.steps)
    return f"{count:,} step{'' if count == 1 else 's'}: {fact.request or '(a plan of its own)'}"


def _fork(fact: RunForked) -> str:
    changed = "; ".join(fact.changed) or "nothing changed"
    return f"of {fact.from_run} as of offset {fact.from_offset:,}: {changed}"


_TOLD: dict[type, Callable[[Any], str]] = {
    PlanCreated: _plan,
    RunForked: _fork,
    PlanRejected: lambda fact: "; ".join(str(problem) for problem in fact.problems),
    StepProgress: lambda fact: as_text(fact.progress),
    TimerFired: lambda fact: f"{fact.kind.value}, due {clock(fact.due_ms)}",
    RunSnapshot: lambda fact: f"as of offset {fact.as_of:,}",
    ApprovalRequested: lambda fact: fact.approval.question,
    CompensationAbandoned: lambda fact: f"{fact.error.code}: {fact.error.message}",
    DomainEvent: lambda event: event.value.decode(errors="replace"),
    EventHandled: lambda fact: f"{fact.event_type} {fact.event_id} {fact.summary}",
}


def entry_document(entry: Entry) -> dict[str, Any]:
    """Describe a record for programs: its place, what it is, and the message."""
    record, received = entry.record, entry.received
    document: dict[str, Any] = {
        "at": iso(record.timestamp),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "id": entry.id,
        "cause": entry.cause,
        "type": entry.type,
        "run_id": entry.run_id,
        "fact": received.message.model_dump(mode="json") if received else None,
    }
    if entry.problem:
        document["problem"] = entry.problem
    return document


def raw_line(entry_or_record: Any) -> str:
    """Write a record as a line of an archive: headers and value as they lie there."""
    record = getattr(entry_or_record, "record", entry_or_record)
    try:
        return line_of(record).decode()
    except UnicodeDecodeError as error:
        raise UndecodableMessage(f"{record.topic}: {error}", code="not_utf8") from None


def entry_line(entry: Entry, prefix: str) -> Text:
    """Write a record as a line of a list that goes on, with room for what is usual."""
    row, line = cells(entry, prefix), Text()
    for cell, (width, style) in zip(row, _ROOM, strict=True):
        text = cell.copy() if isinstance(cell, Text) else Text(str(cell), style=style)
        text.truncate(max(width, text.cell_len), pad=True)
        line.append_text(text).append("  " if width else "")
    return line


def print_list(console: Console, entries: list[Entry], *, prefix: str) -> None:
    """Print records as a table; columns that tell nothing are left out."""
    with_run = len({entry.run_id for entry in entries}) > 1
    rows = [cells(entry, prefix) for entry in entries]
    columns = [
        at
        for at, name in enumerate(COLUMNS)
        if (name != "run" or with_run) and any(str(row[at]) for row in rows)
    ]
    if not columns or columns[-1] != len(COLUMNS) - 1:
        columns.append(len(COLUMNS) - 1)
    chosen = [[row[at] for at in columns] for row in rows]
    print_table(console, [COLUMNS[at] for at in columns], chosen, one_line=True)
