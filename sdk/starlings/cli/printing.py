"""Putting things on a terminal or into a pipe.

What agents, models and plans wrote is foreign: it is shown as text, in which markup and control
characters mean nothing. JSON is exact; what could steer a terminal is escaped in it.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.text import Text

LINE_LIMIT = 200
PIPE_WIDTH = 200
GAP = "  "
ROOM_FOR_LAST = 16
_STEERING = re.compile(
    "[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Take control characters out of a text, apart from line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")


def clean(text: object, limit: int = LINE_LIMIT) -> str:
    """Make foreign text fit for a place within a line: no line ends, bounded."""
    joined = " ".join(str(text)[: 20 * limit].split())
    kept = printable(joined).replace("\t", " ").replace("\n", " ")
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def console() -> Console:
    """Make a console on standard output; into a pipe it writes long lines."""
    from rich.console import Console as RichConsole  # noqa: PLC0415 - not for `--help`

    class PipeConsole(RichConsole):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    made = PipeConsole(highlight=False, soft_wrap=False)
    if not made.is_terminal and "COLUMNS" not in made._environ:  # noqa: SLF001 - as Rich looks
        made.width = PIPE_WIDTH
    return made


def print_json(data: Any) -> None:
    """Write one JSON document, indented for people."""
    write(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def print_json_line(data: Any) -> None:
    """Write one line of JSON, at once."""
    write(json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str))


def write(document: str) -> None:
    """Write a JSON document; characters that steer terminals are escaped within its strings."""
    sys.stdout.write(_STEERING.sub(lambda m: f"\\u{ord(m[0]):04x}", document) + "\n")
    sys.stdout.flush()


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Sequence[int] = (),
    one_line: bool = False,
) -> None:
    """Print a table without lines whose last column takes the room that is left.

    Where that is too little, each row becomes a line with the last column below it. `right` are
    columns of numbers; with `one_line` the last column is cut rather than wrapped.
    """
    from rich.table import Table as RichTable  # noqa: PLC0415 - as above
    from rich.text import Text as RichText  # noqa: PLC0415

    cells = [[c if isinstance(c, RichText) else RichText(c) for c in row] for row in rows]
    widths = [max(len(name), *(row[i].cell_len for row in cells)) for i, name in enumerate(columns)]
    room = console.width - sum(widths[:-1]) - len(GAP) * (len(columns) - 1)
    if room < min(ROOM_FOR_LAST, widths[-1]):
        for row in cells:
            console.print(RichText(GAP).join(c for c in row[:-1] if c.plain))
            if one_line:
                row[-1].truncate(console.width - len(GAP), overflow="ellipsis")
            if row[-1].plain:
                say(console, row[-1], head=GAP)
        return
    table = RichTable(box=None, padding=(0, len(GAP), 0, 0), header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        last = number == len(columns) - 1
        justify: Literal["left", "right"] = "right" if number in right else "left"
        if last:
            overflow: Literal["fold", "ellipsis"] = "ellipsis" if one_line else "fold"
            table.add_column(name, no_wrap=one_line, overflow=overflow, max_width=room)
        else:
            table.add_column(name, no_wrap=True, justify=justify, min_width=widths[number])
    for row in cells:
        table.add_row(*row)
    console.print(table)


def say(console: Console, text: Text, *, head: str = "", style: str = "") -> None:
    """Print a text after its head; in a terminal its further lines stand below its first one."""
    from rich.table import Table as RichTable  # noqa: PLC0415 - as above
    from rich.text import Text as RichText  # noqa: PLC0415

    if not console.is_terminal:
        console.print(RichText(head, style=style) + text, soft_wrap=True)
        return
    row = RichTable.grid()
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(RichText(head, style=style), text)
    console.print(row)
