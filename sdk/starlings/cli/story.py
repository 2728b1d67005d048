"""Telling the story of a run: its plan as a tree, its steps as they go, its result.

In a terminal the steps are redrawn in place; elsewhere each change is one plain line. Whatever
agents and models wrote is shown as text: markup and control characters in it mean nothing.
"""

from __future__ import annotations

import unicodedata

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from starlings.choreography import Phase, Run, StepState
from starlings.client import RunHandle, RunView
from starlings.messages import RunDone, RunOutcome

MARKS: dict[Phase, tuple[str, str]] = {
    Phase.WAITING: ("·", "dim"),
    Phase.READY: ("·", "dim"),
    Phase.RELEASED: ("○", "yellow"),
    Phase.RUNNING: ("◐", "yellow"),
    Phase.BACKOFF: ("↻", "yellow"),
    Phase.DONE: ("✓", "green"),
    Phase.FAILED: ("✗", "red"),
    Phase.SKIPPED: ("»", "dim"),
    Phase.CANCELLED: ("■", "magenta"),
}
SHOWN_STEPS = 40
RESULT_WIDTH = 200


def clean(text: object, limit: int = RESULT_WIDTH) -> str:
    """Make foreign text safe for a terminal: one line, no control characters, bounded."""
    joined = " ".join(str(text).split())
    kept = "".join(c for c in joined if unicodedata.category(c)[0] != "C")
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def plan_tree(run: Run) -> Tree:
    """Draw a plan: every step under the last of those it waits for."""
    tree = Tree(Text(f"Plan  {len(run.order)} steps", style="bold"))
    nodes: dict[str, Tree] = {}
    for step in run.order[:SHOWN_STEPS]:
        after = list(dict.fromkeys(step.spec.depends_on))
        parent = nodes.get(after[-1], tree) if after else tree
        nodes[step.spec.id] = parent.add(_plan_line(step, after))
    if len(run.order) > SHOWN_STEPS:
        tree.add(Text(f"and {len(run.order) - SHOWN_STEPS:,} more", style="dim"))
    return tree


def _plan_line(step: StepState, after: list[str]) -> Text:
    line = Text.assemble((step.spec.id, "bold"), "  ", (step.spec.agent, "cyan"), "  ")
    line.append(clean(step.spec.task or step.spec.tool or step.spec.input, 100))
    if len(after) > 1:
        line.append(f"  (after {', '.join(after)})", style="dim")
    return line


def step_table(view: RunView) -> Table:
    """Draw the steps as they stand."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    run = view.run
    for step in run.order[:SHOWN_STEPS] if run else []:
        table.add_row(*_step_cells(view, step))
    return table


def _step_cells(view: RunView, step: StepState) -> tuple[Text, ...]:
    mark, style = MARKS[step.phase]
    trace = view.traces.get(step.spec.id)
    took = f"{trace.duration_s:.2f} s" if trace and trace.duration_s is not None else ""
    return (
        Text(f"  {mark}", style=style),
        Text(step.spec.id, style="bold"),
        Text(step.spec.agent, style="cyan"),
        Text(_told(view, step), style="red" if step.phase is Phase.FAILED else ""),
        Text(took, style="dim"),
    )


def _told(view: RunView, step: StepState) -> str:
    if step.phase is Phase.DONE:
        return clean(step.summary)
    if step.error is not None:
        again = f" (attempt {step.attempt})" if step.phase is not Phase.FAILED else ""
        return clean(step.error.message) + again
    trace = view.traces.get(step.spec.id)
    if trace is not None and trace.progress is not None:
        return clean(trace.progress)
    return step.phase.value


def step_line(view: RunView, step: StepState) -> Text:
    """Say in one plain line how a step stands."""
    return Text(" ").join(cell for cell in _step_cells(view, step) if cell.plain)


def result_lines(console: Console, done: RunDone) -> None:
    """Print how a run ended."""
    style = {"completed": "green", "partial": "yellow"}.get(done.outcome.value, "red")
    console.print()
    console.print(
        Text.assemble(
            ("Result  ", "bold"), (done.outcome.value, style), f" in {done.duration_s:.2f} s"
        )
    )
    for problem in done.problems:
        console.print(Text(f"  - {clean(problem, 500)}", style="red"), soft_wrap=True)
    if done.error is not None and not done.problems:
        console.print(Text(f"  {clean(done.error.message, 1000)}", style="red"), soft_wrap=True)
    if done.text:
        console.print(Text(f"  {clean(done.text, 2000)}"), soft_wrap=True)
    if done.outcome is RunOutcome.COMPLETED:
        console.print(
            Text.assemble("  final: ", (clean(done.output, 2000), "bold")), soft_wrap=True
        )


async def tell(console: Console, run: RunHandle) -> RunView:
    """Tell a run from its plan to its end; return what was seen."""
    view = RunView(run.run_id)
    if not console.is_terminal:
        return await _tell_in_lines(console, run, view)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        async for received in run.records():
            begun = view.run is not None
            changed = view.add(received)
            if not begun and view.run is not None and view.run.order:
                live.console.print(plan_tree(view.run))
                live.console.print()
            if changed:
                live.update(step_table(view), refresh=True)
    if view.done is not None:
        result_lines(console, view.done)
    return view


async def _tell_in_lines(console: Console, run: RunHandle, view: RunView) -> RunView:
    phases: dict[str, Phase] = {}
    async for received in run.records():
        begun = view.run is not None
        view.add(received)
        if view.run is None:
            continue
        if not begun and view.run.order:
            console.print(plan_tree(view.run))
            console.print()
        step_id = getattr(received.message, "step_id", None)
        step = view.run.steps.get(step_id) if step_id else None
        if step is not None and phases.get(step.spec.id) is not step.phase:
            phases[step.spec.id] = step.phase
            console.print(step_line(view, step), soft_wrap=True)
    if view.done is not None:
        result_lines(console, view.done)
    return view
