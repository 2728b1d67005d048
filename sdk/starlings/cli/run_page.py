"""One run on a page, for `starlings show`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from starlings.client import RunView
from starlings.messages import PlanAmended, RunForked

from .chain_tree import chain_tree
from .printing import clean, say
from .spending import print_spending, used_text
from .story import OUTCOME_STYLES, plan_tree, result_lines, step_table
from .times import duration_text, moment_text
from .words import amendment_mark, amendment_text, pause_text

REQUEST_LIMIT = 2_000


def print_run(console: Console, view: RunView) -> None:
    """Print all that is known of a run."""
    _print_head(console, view)
    if view.run is not None and view.run.order:
        console.print()
        console.print(plan_tree(view.run))
        console.print()
        console.print(step_table(view))
        if (paused := pause_text(view)) is not None:
            console.print(paused)
    for fact in view.amendments:
        style = "magenta" if isinstance(fact, PlanAmended) else "red"
        told = Text(clean(amendment_text(fact), REQUEST_LIMIT), style=style)
        say(console, told, head=f"  {amendment_mark(fact)} ", style=style)
    print_spending(console, view)
    if view.chain.events:
        console.print()
        console.print(chain_tree(view.chain))
    if view.done is not None:
        console.print()
        result_lines(console, view.done)
    _print_place(console, view)


def _print_head(console: Console, view: RunView) -> None:
    status = Text(view.status, style=OUTCOME_STYLES.get(view.status, "yellow"))
    _print_field(console, "Run", Text(view.run_id))
    _print_field(console, "Status", status)
    run = view.run
    if run is None:
        return
    if run.request:
        _print_field(console, "Request", Text(clean(run.request, REQUEST_LIMIT)))
    took = f", took {duration_text(view.done.duration_s)}" if view.done else ""
    _print_field(console, "Began", Text(f"{moment_text(run.began_ms)}{took}"))
    if run.tags:
        tags = ", ".join(f"{key}={value}" for key, value in run.tags.items())
        _print_field(console, "Tags", Text(clean(tags, REQUEST_LIMIT)))
    if run.forked_from is not None:
        _print_field(console, "Forked", Text(_fork_text(run.forked_from, view.forked)))
    if used := used_text(view):
        _print_field(console, "Used", Text(used))
    if view.plan is not None and view.plan.model:
        _print_field(console, "Planned", Text(f"by {clean(view.plan.model)}"))


def _fork_text(origin: tuple[str, int], fork: RunForked | None) -> str:
    name, offset = origin
    changed = "; ".join(fork.changed) if fork is not None else ""
    told = f"from {name}, as of offset {offset}" + (f": {changed}" if changed else "")
    return clean(told, REQUEST_LIMIT)


def _print_place(console: Console, view: RunView) -> None:
    first, last = view.first, view.last
    if first is None or last is None:
        return
    origin, until = first.origin, last.origin.offset
    console.print()
    place = f"{origin.topic}, partition {origin.partition}, offsets {origin.offset} to {until}"
    _print_field(console, "Kafka", Text(f"{view.facts} facts in {place}", style="dim"))


def _print_field(console: Console, label: str, text: Text) -> None:
    say(console, text, head=f"{label:<9}", style="bold")
