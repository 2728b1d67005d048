"""What `starlings diff` prints: two runs side by side, and steps that differ in more words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from difflib import unified_diff
from itertools import islice
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.messages import Usage
from starlings.replay.difference import Difference, RunSide, StepDifference, StepSide

from .printing import clean, print_table, printable, say
from .spending import cost_text
from .times import duration_text

LINES_OF_OUTPUT = 40  # of one step; `starlings output` has all
CELL = 34  # two columns of these fit beside a label in 80
NOTHING = "-"
_STYLES = {"-": "red", "+": "green"}


def difference_document(found: Difference) -> dict[str, Any]:
    """Write it as JSON values."""
    return {
        "left": _run_document(found.left),
        "right": _run_document(found.right),
        "options": list(found.options),
        "steps": [_step_document(step) for step in found.steps],
    }


def _run_document(run: RunSide) -> dict[str, Any]:
    return {**asdict(run), "usage": _usage(run.usage)}


def _step_document(step: StepDifference) -> dict[str, Any]:
    sides = {
        name: None if side is None else {**asdict(side), "usage": _usage(side.usage)}
        for name, side in (("left", step.left), ("right", step.right))
    }
    return {
        "id": step.step_id,
        "same": step.is_same,
        "same_result": step.is_same_result,
        "changed": list(step.changed),
        **sides,
    }


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    return usage.model_dump(mode="json") if usage is not None else None


# -- in words --------------------------------------------------------------------------------------


def print_difference(console: Console, found: Difference) -> None:
    """Print both runs, then each step that differs."""
    left, right = found.left, found.right
    rows: list[list[str | Text]] = [
        ["run", clean(left.run_id, CELL), clean(right.run_id, CELL)],
        ["fork of", _origin(left), _origin(right)],
        ["status", left.status, right.status],
        ["steps", f"{left.steps:,}", f"{right.steps:,}"],
        ["took", _took(left.duration_s), _took(right.duration_s)],
        ["tokens", _tokens(left.usage), _tokens(right.usage)],
        ["cost", _cost(left.usage), _cost(right.usage)],
        ["result", _short(left.output), _short(right.output)],
    ]
    shown = [row for row in rows if {row[1], row[2]} != {NOTHING}]
    print_table(console, ("", "left", "right"), shown, one_line=True)
    if found.options:
        say(console, Text(", ".join(found.options)), head="differing choices: ")
    same = [step for step in found.steps if step.is_same]
    for step in found.steps:
        if not step.is_same:
            console.print()
            _print_step(console, step)
    console.print()
    differ = len(found.steps) - len(same)
    kept = sum(step.inherits for step in same)
    inherited = f" ({kept:,} inherited)" if kept else ""
    console.print(
        f"{differ:,} of {len(found.steps):,} steps differ, {len(same):,} do not{inherited}"
    )


def _print_step(console: Console, step: StepDifference) -> None:
    mark = "≠" if step.left is not None and step.right is not None else "-+"[step.left is None]
    console.print(Text.assemble((f"{mark} ", "yellow"), (step.step_id, "bold"), f"  {_who(step)}"))
    for fact in _facts(step):
        say(console, Text(fact), head="    ")
    if not step.is_same_result:
        for line in _output_lines(step.left, step.right):
            say(
                console,
                Text(printable(line[1:]), style=_STYLES.get(line[0], "dim")),
                head=f"    {line[0]} ",
            )


def _who(step: StepDifference) -> str:
    names = [_served_by(side) for side in (step.left, step.right) if side is not None]
    only = "" if len(names) > 1 else f", only {'left' if step.right is None else 'right'}"
    return " → ".join(dict.fromkeys(names)) + only


def _served_by(side: StepSide) -> str:
    return f"{side.agent}.{side.variant}" if side.variant else side.agent


def _facts(step: StepDifference) -> Iterator[str]:
    """Say in lines what differs beside the output."""
    left, right = step.left, step.right
    if step.changed:
        yield f"plan: {', '.join(step.changed)}"
    if left is None or right is None:
        side = left or right
        told = [side.state, _took(side.duration_s), _cost(side.usage)] if side else []
        yield ", ".join(part for part in told if part != NOTHING)
        return
    pairs = [("", left.state, right.state)]
    pairs += [("took ", _took(left.duration_s), _took(right.duration_s))]
    pairs += [("tokens ", _tokens(left.usage), _tokens(right.usage))]
    pairs += [("", _cost(left.usage), _cost(right.usage))]
    told = [f"{label}{a} → {b}" for label, a, b in pairs if a != b]
    if told:
        yield ", ".join(told)
    if left.inherited or right.inherited:
        yield f"inherited {'left' if left.inherited else 'right'}"


def _output_lines(left: StepSide | None, right: StepSide | None) -> Iterator[str]:
    """Compare outputs (or errors) line by line; long ones are cut, and say so."""
    ours, theirs = _lines(left), _lines(right)
    lines = list(islice(_changed_lines(ours, theirs), LINES_OF_OUTPUT + 1))
    yield from lines[:LINES_OF_OUTPUT]
    if len(lines) > LINES_OF_OUTPUT:
        yield " … (cut; `starlings output RUN --step STEP` prints all)"


def _changed_lines(ours: list[str], theirs: list[str]) -> Iterator[str]:
    for line in islice(unified_diff(ours, theirs, lineterm="", n=1), 2, None):
        if not line.startswith("@@"):
            yield line


def _lines(side: StepSide | None) -> list[str]:
    if side is None:
        return []
    if side.error is not None:
        return side.error.splitlines()
    if side.output is None:
        return []
    if isinstance(side.output, str):
        return side.output.splitlines()
    return json.dumps(side.output, ensure_ascii=False, indent=1).splitlines()


def _origin(run: RunSide) -> str:
    return clean(run.forked_from, CELL) if run.forked_from else NOTHING


def _took(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration_text(seconds)


def _tokens(usage: Usage | None) -> str:
    return NOTHING if usage is None else f"{usage.input_tokens + usage.output_tokens:,}"


def _cost(usage: Usage | None) -> str:
    return (cost_text(usage) if usage is not None else "") or NOTHING


def _short(value: Any) -> str:
    if value is None:
        return NOTHING
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text, CELL)
