"""Telling the story of a run: its plan as a tree, its steps as they go, its result.

In a terminal the steps are redrawn in place; elsewhere each change is one plain line. Whatever
agents and models wrote is shown as text: markup and control characters in it mean nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from starlings.choreography import Phase, Run, StepState, Undo
from starlings.choreography.context import as_text
from starlings.choreography.skipping import skip_reason
from starlings.client import RunView
from starlings.kafka.codec import Received
from starlings.messages import (
    CompensationAbandoned,
    CompensationDone,
    EventHandled,
    RunDone,
    RunOutcome,
    StepProgress,
    Timeouts,
)

from .chain_tree import chain_tree, reaction_line
from .printing import clean, printable, say
from .spending import used_text
from .times import duration_text
from .undoing import TOLD, UNDO_MARKS, not_undone, undo_line, undo_of, undo_text
from .words import asked_text, form_text, pause_text, word_line, word_of

MARKS: dict[Phase, tuple[str, str]] = {
    Phase.WAITING: ("·", "dim"),
    Phase.READY: ("·", "dim"),
    Phase.RELEASED: ("○", "yellow"),
    Phase.RUNNING: ("◐", "yellow"),
    Phase.BACKOFF: ("↻", "yellow"),
    Phase.ASKING: ("?", "yellow"),
    Phase.MAPPING: ("◐", "yellow"),
    Phase.AMENDING: ("◐", "yellow"),
    Phase.DONE: ("✓", "green"),
    Phase.FAILED: ("✗", "red"),
    Phase.SKIPPED: ("»", "dim"),
    Phase.CANCELLED: ("■", "magenta"),
}
AT_WORK = (Phase.RELEASED, Phase.RUNNING, Phase.BACKOFF)
OUTCOME_STYLES = {
    "completed": "green",
    "partial": "yellow",
    "cancelled": "magenta",
    "compensated": "magenta",
}
SHOWN_STEPS = 40
RESULT_LIMIT = 20_000
REDRAW_EVERY_S = 0.25
REDRAW_AT_MOST_EVERY_S = 0.04
SHOW_ELAPSED_FROM_S = 1.0
ROOM_BESIDE_STEPS = 4  # lines of a terminal that are not for steps


class Told(Protocol):
    """A run that can be told: one on Kafka, or one in this process."""

    run_id: str

    def records(self) -> AsyncGenerator[Received]:
        """Deliver its facts up to its end."""
        ...


# -- the plan ------------------------------------------------------------------------------------


def plan_tree(run: Run) -> Tree:
    """Draw a plan: every step under the last of those it waits for."""
    steps = [step for step in run.order if step.item_of is None]
    count = len(steps)
    tree = Tree(Text(f"Plan  {count:,} step{'s' if count != 1 else ''}", style="bold"))
    nodes: dict[str, Tree] = {}
    for step in steps[:SHOWN_STEPS]:
        after = list(dict.fromkeys(step.spec.depends_on))
        parent = nodes.get(after[-1], tree) if after else tree
        nodes[step.spec.id] = parent.add(_plan_line(step, after))
    if count > SHOWN_STEPS:
        tree.add(Text(f"and {count - SHOWN_STEPS:,} more", style="dim"))
    return tree


def _plan_line(step: StepState, after: list[str]) -> Text:
    line = Text.assemble((step.spec.id, "bold"), "  ", (step.spec.agent, "cyan"), "  ")
    line.append(clean(_asked(step), 100))
    if len(after) > 1:
        shown = ", ".join(after[:5]) + (f" and {len(after) - 5} more" if len(after) > 5 else "")  # noqa: PLR2004
        line.append(f"  (after {shown})", style="dim")
    return line


def _asked(step: StepState) -> str:
    if step.spec.task:
        return step.spec.task
    if step.spec.tool:
        given = ", ".join(f"{k}={as_text(v)}" for k, v in (step.spec.args or {}).items())
        return f"{step.spec.tool}({given})"
    return as_text(step.spec.input) if step.spec.input is not None else asked_text(step)


# -- the steps -----------------------------------------------------------------------------------


def step_table(view: RunView, rows: int = SHOWN_STEPS) -> RenderableType:
    """Draw the steps as they stand; of many, those of most interest."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    order = view.run.order if view.run else []
    shown = order if len(order) <= rows else _of_interest(order, rows - 1)
    for step in shown:
        table.add_row(*_step_cells(view, step))
    return Group(table, _counts(order)) if len(order) > len(shown) else table


def _of_interest(order: list[StepState], rows: int) -> list[StepState]:
    """Choose what is at work, then what failed, then what is next; show it in plan order."""

    def rank(step: StepState) -> int:
        if step.phase in AT_WORK:
            return 0
        return 1 if step.phase is Phase.FAILED else 3 if step.settled else 2

    return sorted(sorted(order, key=rank)[: max(rows, 1)], key=lambda step: step.index)


def _counts(order: list[StepState]) -> Text:
    counts: dict[str, int] = {}
    for step in order:
        counts[step.phase.value] = counts.get(step.phase.value, 0) + 1
    said = ", ".join(f"{count:,} {phase}" for phase, count in counts.items())
    return Text(f"  {len(order):,} steps: {said}", style="dim")


def _step_cells(view: RunView, step: StepState) -> tuple[Text, ...]:
    undo = undo_of(view.run, step) if view.run else None
    undone = undo is not None and step.phase is not Phase.FAILED
    mark, style = UNDO_MARKS[undo.phase] if undo and undone else MARKS[step.phase]
    return (
        Text(f"  {mark}", style=style),
        Text(step.spec.id, style="bold"),
        Text(_served_by(step), style="cyan"),
        Text(_told(view, step, undo), style="red" if style == "red" else ""),
        Text(_took(view, step), style="dim"),
    )


def _served_by(step: StepState) -> str:
    return f"{step.spec.agent}.{step.variant}" if step.variant else step.spec.agent


def _took(view: RunView, step: StepState) -> str:
    trace = view.traces.get(step.spec.id)
    if trace is None:
        return "inherited" if step.inherited else ""
    if step.phase in AT_WORK:
        elapsed_s = time.time() - (trace.since_ms or 0) / 1000
        known = trace.since_ms is not None and elapsed_s >= SHOW_ELAPSED_FROM_S
        return _elapsed(view, step, int(elapsed_s)) if known and view.done is None else ""
    return duration_text(trace.duration_s) if trace.duration_s is not None else ""


def _elapsed(view: RunView, step: StepState, elapsed_s: int) -> str:
    """Say for how long a step is at work, and the limit, where somebody has set one."""
    limits = view.run.timeouts(step) if view.run else Timeouts()
    own = limits.run_s if step.phase is Phase.RUNNING else limits.queue_s
    if own is None or limits == Timeouts() or step.phase is Phase.BACKOFF:
        return duration_text(elapsed_s)
    return f"{duration_text(elapsed_s)} of {duration_text(own)}"


def _told(view: RunView, step: StepState, undo: Undo | None) -> str:
    if undo is not None and view.run is not None:
        failed = f"{clean(step.error.message)}; " if step.error else ""
        return failed + undo_text(view.run, undo)
    if step.phase in (Phase.DONE, Phase.ASKING):
        return word_of(view, step) or clean(step.summary)
    if step.error is not None:
        again = f" (attempt {step.attempt})" if step.phase is not Phase.FAILED else ""
        return clean(step.error.message) + again
    if step.phase is Phase.SKIPPED and view.run is not None:
        return f"skipped: {skip_reason(view.run, step)}"
    trace = view.traces.get(step.spec.id)
    if step.phase is Phase.RUNNING and trace is not None and trace.progress is not None:
        asked = form_text(view, step, trace.progress)
        return asked or clean(as_text(trace.progress))
    return step.phase.value


def step_line(view: RunView, step: StepState) -> Text:
    """Say in one plain line how a step stands."""
    return Text(" ").join(cell for cell in _step_cells(view, step) if cell.plain)


# -- the end -------------------------------------------------------------------------------------


def result_lines(console: Console, done: RunDone) -> None:
    """Print how a run ended."""
    style = OUTCOME_STYLES.get(done.outcome.value, "red")
    took = f" in {duration_text(done.duration_s)}" if done.duration_s else ""
    console.print(Text.assemble(("Result  ", "bold"), (done.outcome.value, style), took))
    for problem in done.problems:
        say(console, Text(clean(problem, 500), style="red"), head="  - ", style="red")
    if done.error is not None and not done.problems:
        say(console, Text(clean(done.error.message, 1000), style="red"), head="  ")
    if done.text:
        say(console, Text(clean(done.text, 2000)), head="  ")
    for left in not_undone(done):
        say(console, Text(left, style="red"), head="  ")
    if done.outcome is RunOutcome.COMPLETED:
        say(console, Text(shown_value(done.output), style="bold"), head="  final: ")


def shown_value(value: object, limit: int | None = RESULT_LIMIT) -> str:
    """Write a step's output for people; what is longer than the limit is cut, and says so."""
    text = printable(as_text(value)).strip("\n")
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}…\n(cut: {len(text):,} characters; `starlings output` prints all)"


# -- telling -------------------------------------------------------------------------------------


async def tell(
    console: Console, run: Told, view: RunView | None = None, *, with_plan: bool = True
) -> RunView:
    """Tell a run from its plan to its end; return what was seen."""
    view = view or RunView(run.run_id)
    if console.is_terminal:
        await _tell_live(console, run, view, with_plan=with_plan)
    else:
        await _tell_in_lines(console, run, view, with_plan=with_plan)
    if view.done is not None:
        if view.run is not None and view.run.order:
            console.print()
        result_lines(console, view.done)
        if view.run is not None and view.run.used() is not None:
            console.print(Text(f"  used: {used_text(view)}", style="dim"))
    return view


async def _tell_live(console: Console, run: Told, view: RunView, *, with_plan: bool) -> None:
    drawn = 0.0

    def redraw() -> None:
        nonlocal drawn
        drawn = time.monotonic()
        room = max(min(SHOWN_STEPS, console.height - ROOM_BESIDE_STEPS), 3)
        live.update(_drawn(view, room), refresh=True)

    live = Live(_planning(view), console=console, auto_refresh=False, transient=False)
    with live:
        ticker = asyncio.create_task(_tick(redraw))
        try:
            async with contextlib.aclosing(run.records()) as records:
                async for received in records:
                    begun = view.run is not None
                    changed = view.add(received)
                    if not begun and view.run is not None and view.run.order and with_plan:
                        live.console.print(plan_tree(view.run))
                        live.console.print()
                    if changed and time.monotonic() - drawn > REDRAW_AT_MOST_EVERY_S:
                        redraw()
        finally:
            ticker.cancel()
        live.update(_drawn(view, SHOWN_STEPS), refresh=True)


def _drawn(view: RunView, room: int) -> RenderableType:
    parts: list[RenderableType] = []
    if view.run is not None:
        parts.append(step_table(view, room))
    if (paused := pause_text(view)) is not None:
        parts.append(paused)
    if view.chain.events:
        parts.append(chain_tree(view.chain, room))
    return Group(*parts) if parts else _planning(view)


def _planning(view: RunView) -> Text:
    return Text("" if view.facts else "  planning …", style="dim")


async def _tick(redraw: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(REDRAW_EVERY_S)
        redraw()


async def _tell_in_lines(console: Console, run: Told, view: RunView, *, with_plan: bool) -> None:
    said: dict[object, object] = {}
    async with contextlib.aclosing(run.records()) as records:
        async for received in records:
            begun = view.run is not None
            changed = view.add(received)
            if changed and isinstance(received.message, EventHandled):
                console.print(reaction_line(received.message), soft_wrap=True)
            if view.run is None:
                continue
            if not begun and view.run.order and with_plan:
                console.print(plan_tree(view.run))
                console.print()
            for line in _changes(view, view.run, received, said):
                console.print(line, soft_wrap=True)


def _changes(
    view: RunView, run: Run, received: Received, said: dict[object, object]
) -> Iterator[Text]:
    """Tell what a fact has changed about the run, its step, or about the undoing of it."""
    fact = received.message
    if (word := word_line(view, fact)) is not None:
        yield word
    step = run.steps.get(getattr(fact, "step_id", None) or "")
    if step is None:
        return
    undo = run.undos.get((step.spec.id, getattr(fact, "attempt", None) or 0))
    if isinstance(fact, CompensationDone | CompensationAbandoned) and undo is not None:
        stands = undo.phase, undo.number
        if undo.phase in TOLD and said.get((step.spec.id, undo.attempt)) != stands:
            said[step.spec.id, undo.attempt] = stands
            yield undo_line(run, step, undo)
    elif isinstance(fact, StepProgress) and step.phase is Phase.RUNNING:
        second = received.timestamp_ms // 1000  # more often would only fill the page
        if said.get((step.spec.id, "progress")) != second:
            said[step.spec.id, "progress"] = second
            yield step_line(view, step)
    elif said.get(step.spec.id) is not step.phase:
        said[step.spec.id] = step.phase
        yield step_line(view, step)
