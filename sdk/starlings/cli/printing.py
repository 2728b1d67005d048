"""Putting things on a terminal or into a pipe.

What agents, models and plans wrote is foreign: it is shown as text, in which markup and control
characters mean nothing. JSON is exact; what could steer a terminal is escaped in it.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LINE_LIMIT = 200
PIPE_WIDTH = 200
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


def plain_table(*columns: str) -> Table:
    """Make a table without lines; the last column takes the room that is left."""
    from rich.table import Table as RichTable  # noqa: PLC0415 - as above

    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
