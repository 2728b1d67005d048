"""What caused what, drawn: what stands below in the same column was caused by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from starlings.replay.causes import Node, Row, rows
from starlings.replay.selection import attempt_of

from .event_rows import cells
from .printing import clean

_MOST_COLUMNS = 12  # a million messages may need twenty: the rest is drawn in the last one


def print_tree(console: Console, roots: Sequence[Node], prefix: str) -> None:
    """Draw a forest to the width of the terminal."""
    drawn = list(rows(roots))
    begun = min((row.node.entry.record.timestamp for row in drawn if row.node.entry), default=0)
    for number, row in enumerate(drawn):
        if number and not row.column and row.node.parent is None:
            console.print()  # so that another tree is told from what goes on in this one
        line = _line(row, prefix, begun)
        line.truncate(console.width, overflow="ellipsis")
        console.print(line, no_wrap=True, crop=True)


def _line(row: Row, prefix: str, begun_ms: int) -> Text:
    node = row.node
    line = Text(_lead(row), style="dim")
    if node.entry is None:
        line.append("○ ", style="dim")
        named = attempt_of(node.id)
        what = f"{node.type}  {named.step_id}" if named else node.type or node.id
        return line.append(f"{clean(what)}  (not read)", style="dim")
    told = cells(node.entry, prefix)
    after_s = (node.entry.record.timestamp - begun_ms) / 1000
    line.append("↻ " if node.is_repeat else "● ", style="yellow" if node.is_repeat else "cyan")
    line.append_text(told.type)
    for text, style in ((told.step, "bold"), (told.agent, "cyan")):
        line.append(f"  {text}" if text else "", style=style)
    if told.outcome.plain:
        line.append("  ").append_text(told.outcome)
    line.append(f"  +{after_s:.3f} s", style="dim")
    return line.append("  ").append_text(told.said) if told.said.plain else line


def _lead(row: Row) -> str:
    column = min(row.column, _MOST_COLUMNS)
    if row.is_branch:
        return "│ " * (column - 1) + "├─"
    return "│ " * column


def tree_document(roots: Sequence[Node]) -> list[dict[str, Any]]:
    """List the messages of a forest with their causes, each after its cause."""
    return [
        {
            "id": row.node.id,
            "type": row.node.type,
            "cause": row.node.parent.id if row.node.parent else None,
            "repeat": row.node.is_repeat,
            "read": row.node.entry is not None,
            "partition": row.node.entry.record.partition if row.node.entry else None,
            "offset": row.node.entry.record.offset if row.node.entry else None,
        }
        for row in rows(roots)
    ]
