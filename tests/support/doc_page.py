"""The commands of a page of `docs/`, to be typed by a test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(page: str, title: str) -> list[list[str]]:
    """Read the commands of one section."""
    section = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {title}\n")[1]
    blocks = FENCE.findall(section.split("\n## ")[0])
    return [shlex.split(line) for block in blocks for line in block.strip().splitlines()]
