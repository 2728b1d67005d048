"""The commands of a page of `docs/`, to be typed by a test, and what it shows of their output.

A block of commands that end otherwise than well says so: "sh exit=8". What stands there as text
right behind is their output, or a part of it. What differs from one time to the next is left out
of the comparison on both sides: times, and what is printed only where times fall so, such as
`took A → B`, which is there only if A and B are not the same once they are rounded.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(
    r"^```sh(?: exit=(\d+))?\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE
)
_DURATION = r"[\d.]+\s+(?:ms|s|min|h)\b(?:\s+\d+\s+(?:s|min)\b)?"
_PER_CENT = r"\(\d+\s+%\)"
_OTHERWISE_EACH_TIME = re.compile(
    "|".join(
        (
            rf"\btook\s+{_DURATION}\s+→\s+{_DURATION}",
            rf"\b[a-z-]+(?: queue)?\s+{_DURATION}\s+{_PER_CENT}",  # of a path: where it is not 0
            r"\b[\d,]+ records\b",  # a step that takes longer says that it has begun
            r"\d\d-\d\d \d\d:\d\d:\d\d\.\d+",
            _DURATION,
            _PER_CENT,
            r"[░█┄·]+",
            r"\S+/\d+/\d+",
            r"^ *\d+(?=  )",
            "…",
        )
    ),
    re.MULTILINE,
)


@dataclass(frozen=True)
class Typed:
    """Commands of a page, a line each; with what the last one ends, and what the page shows."""

    lines: list[str]
    exit_code: int
    shown: str


def section_of(page: str, title: str) -> str:
    """Read one section."""
    section = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {title}\n")[1]
    return section.split("\n## ")[0]


def typed_in(section: str) -> list[Typed]:
    """Read the commands of a section, with what it says of them."""
    return [
        Typed(lines.strip().splitlines(), int(code or 0), shown)
        for code, lines, shown in BLOCK.findall(section)
    ]


def not_said(shown: str, said: str) -> list[str]:
    """List words that a page shows, and a command has not said; times and places may differ."""
    missing = Counter(_words(shown)) - Counter(_words(said))
    return list(missing.elements())


def _words(text: str) -> list[str]:
    words = (word.rstrip(",:") for word in _OTHERWISE_EACH_TIME.sub(" ", text).split())
    return [word for word in words if word]


def commands_of(page: str, title: str) -> list[list[str]]:
    """Read the commands of one section."""
    blocks = FENCE.findall(section_of(page, title))
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]
