"""A run as it was at one of its facts: what the fact said, what came of it, how the run stood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.choreography import Run, Timer
from starlings.client import RunView
from starlings.replay.travel import Told, Travel

from .documents import step_document
from .event_rows import clock, entry_document, told
from .printing import clean, say
from .story import SHOWN_STEPS, step_table
from .times import iso

ROOM_BESIDE_STEPS = 14  # lines
DECISIONS_SHOWN = 12
_VERBS = {
    "step_ready": "releases",
    "step_skipped": "skips",
    "stop_requested": "stops",
    "approval_requested": "asks for",
    "replan_ready": "has planned anew",
    "plan_amended": "amends the plan by",
    "amendment_rejected": "rejects what amends the plan by",
    "compensation_ready": "undoes",
    "dead_letter": "gives up undoing",
    "run_done": "ends the run",
}


def print_moment(console: Console, travel: Travel) -> None:
    """Print the fact that is looked at, and the run after it."""
    entry = travel.fact
    message = entry.received.message if entry.received else None
    line = Text.assemble((clean(travel.run_id), "bold"))
    line.append(f"  fact {travel.number + 1:,} of {len(travel.facts):,}", style="dim")
    line.append(f"  offset {entry.record.offset:,}  {clock(entry.record.timestamp)}", style="dim")
    console.print(line)
    kind = clean(entry.type or "?", 40)
    says = told(message) if message is not None else entry.problem
    say(console, Text(clean(says, 500)), head=f"{kind}  {clean(entry.id)}  ", style="cyan")
    for text, style in _what_came(travel.told[travel.number]):
        say(console, Text(text, style=style), head="  ")
    console.print()
    if travel.run is None:
        console.print(Text("the run is not known at this point", style="dim"))
        return
    console.print(_standing(travel.run))
    if travel.run.order:
        room = console.height - ROOM_BESIDE_STEPS if console.is_terminal else SHOWN_STEPS
        console.print(step_table(_view(travel), max(min(room, SHOWN_STEPS), 3)))


def moment_line(travel: Travel) -> Text:
    """Say in one line what came of the fact that is looked at."""
    entry = travel.fact
    message = entry.received.message if entry.received else None
    line = Text.assemble((f"{entry.record.offset:>7,}  ", "dim"), clock(entry.record.timestamp))
    line.append(f"  {clean(entry.type or '?', 40)}", style="cyan")
    step_id = getattr(message, "step_id", None)
    line.append(f" {clean(step_id)}" if step_id else "")
    came = [text for text, _ in _what_came(travel.told[travel.number])]
    line.append(f"  {clean('; '.join(came), 400)}", style="dim")
    return line


def moment_document(travel: Travel) -> dict[str, Any]:
    """Describe the fact that is looked at, what came of it, and the run after it."""
    came = travel.told[travel.number]
    return {
        "run_id": travel.run_id,
        "number": travel.number + 1,
        "facts": len(travel.facts),
        "fact": entry_document(travel.fact),
        "ignored": came.ignored or None,
        "decided": [decided._asdict() for decided in came.decided],
        "timers": [_timer(timer) for timer in came.timers],
        "run": _run_document(travel) if travel.run is not None else None,
    }


def _what_came(came: Told) -> Iterator[tuple[str, str]]:
    if came.ignored:
        yield f"ignored: {clean(came.ignored, 500)}", "yellow"
    for one in came.decided[:DECISIONS_SHOWN]:
        step = f" {clean(one.step_id)}" if one.step_id else ""
        why = f": {clean(one.reason, 300)}" if one.reason else ""
        yield f"→ {_VERBS.get(one.kind, one.kind)}{step}{why}", "green"
    if len(came.decided) > DECISIONS_SHOWN:
        yield f"→ and {len(came.decided) - DECISIONS_SHOWN:,} more decisions", "green"
    if came.timers:
        yield f"timers: {_timers(came.timers)}", "dim"
    if not (came.ignored or came.decided or came.timers):
        yield "taken note of", "dim"


def _timers(timers: tuple[Timer, ...]) -> str:
    shown = [
        f"{t.key.kind.value}{f' of {clean(t.key.step_id)}' if t.key.step_id else ''}"
        f" due {clock(t.due_ms)}"
        for t in timers[:3]
    ]
    more = f" and {len(timers) - len(shown):,} more" if len(timers) > len(shown) else ""
    return ", ".join(shown) + more


def _standing(run: Run) -> Text:
    settled = sum(step.settled for step in run.order)
    line = Text.assemble(("Run  ", "bold"), run.phase.value)
    if run.outcome is not None:
        line.append(f", {run.outcome.value}")
    if run.paused:
        line.append(", paused")
    line.append(f"  {settled:,} of {len(run.order):,} steps settled", style="dim")
    if run.owed:
        names = list(run.owed)[:3]
        more = f" and {len(run.owed) - len(names):,} more" if len(run.owed) > len(names) else ""
        line.append(f"; owed: {clean(', '.join(names))}{more}", style="dim")
    return line


def _view(travel: Travel) -> RunView:
    view = RunView(travel.run_id)
    view.run = travel.run
    return view


def _timer(timer: Timer) -> dict[str, Any]:
    kind, step_id, attempt = timer.key
    return {"kind": kind.value, "step_id": step_id, "attempt": attempt, "due": iso(timer.due_ms)}


def _run_document(travel: Travel) -> dict[str, Any]:
    run = travel.run
    if run is None:
        return {}
    view = _view(travel)
    return {
        "phase": run.phase.value,
        "outcome": run.outcome.value if run.outcome else None,
        "paused": run.paused,
        "generation": run.generation,
        "owed": list(run.owed),
        "timers": [_timer(Timer(key, due_ms)) for key, due_ms in run.timers.items()],
        "steps": [step_document(view, step) for step in run.order],
    }
