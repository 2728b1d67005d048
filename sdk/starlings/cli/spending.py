"""How it is told what a run has used of models, step by step, and of what budget."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from starlings.choreography.budget import spendings, unpriced_text
from starlings.client import RunView
from starlings.messages import Usage

from .printing import clean, print_table

SHOWN_STEPS = 40
_PLANNING = "(the plan)"
_COLUMNS = ("step", "calls", "tokens", "cost", "model, prompt")

_Row = tuple[str, Usage, list[str]]


def until_ms(view: RunView) -> int:
    """Say up to when a run is known."""
    run = view.run
    if run is None:
        return 0
    return run.ended_ms or (view.last.timestamp_ms if view.last else run.began_ms)


def used_text(view: RunView) -> str:
    """Say what a run has used so far, and of what budget."""
    if view.run is None:
        return ""
    of_budget = {each.limit: str(each) for each in spendings(view.run, until_ms(view))}
    used = view.run.used()
    parts = [f"{used.calls:,} model call{'s' if used.calls != 1 else ''}"] if used else []
    if used is not None and "tokens" not in of_budget:
        parts.append(f"{used.input_tokens + used.output_tokens:,} tokens")
    if used is not None and "cost_usd" not in of_budget:
        parts.extend(cost for cost in [cost_text(used)] if cost)
    return ", ".join((*parts, *of_budget.values()))


def usage_text(used: Usage) -> str:
    """Say of calls how many tokens they took, and what they cost."""
    cost = cost_text(used)
    return f"{used.input_tokens + used.output_tokens:,} tokens{', ' if cost else ''}{cost}"


def cost_text(used: Usage) -> str:
    """Say what it cost, and what of that nobody knows."""
    known = [f"${used.cost_usd:.6g}"] if used.cost_usd is not None else []
    unknown = [unpriced_text(used.unpriced_calls)] if used.unpriced_calls else []
    return " and ".join(known + unknown)


def print_spending(console: Console, view: RunView) -> None:
    """Print which steps have asked models: the dearest ones, in the order of the plan."""
    rows = [(name, used, told) for name, used, told in _told(view) if used.calls or told]
    if not rows:
        return
    dearest = sorted(rows, key=lambda row: _weight(row[1]), reverse=True)[:SHOWN_STEPS]
    shown = [row for row in rows if row in dearest]
    console.print()
    print_table(console, _COLUMNS, [_cells(*row) for row in shown], right=(1, 2, 3))
    if len(rows) > len(shown):
        console.print(f"and {len(rows) - len(shown):,} more", style="dim")


def _told(view: RunView) -> Iterator[_Row]:
    if view.plan is not None and view.plan.usage is not None:
        yield _PLANNING, view.plan.usage, [view.plan.prompt] if view.plan.prompt else []
    for step in view.run.order if view.run else ():
        trace = view.traces.get(step.spec.id)
        if trace is not None and (trace.usage is not None or trace.prompts):
            yield step.spec.id, trace.usage or Usage(), trace.prompts


def _weight(used: Usage) -> tuple[float, int]:
    return used.cost_usd or 0.0, used.input_tokens + used.output_tokens


def _cells(name: str, used: Usage, prompts: list[str]) -> list[str | Text]:
    tokens = f"{used.input_tokens + used.output_tokens:,}"
    asked = ", ".join(clean(each) for each in (used.model, *prompts) if each)
    return [name, f"{used.calls:,}", tokens, cost_text(used), asked]
