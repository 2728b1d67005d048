"""The README of the chart: its values as a table, out of the `# --` comments in values.yaml.

`python deploy/helm/values_page.py` writes it; a test fails where it has drifted. A setting is a key
with a comment `# --` above it; a mapping that has none is looked into.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CHART = Path(__file__).parent / "starlings"
PAGE = CHART / "README.md"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
_KEY = re.compile(r"^( *)([A-Za-z]+):(?: (.*))?$")
_SAID = re.compile(r"^ *# -- (.*)$")


def settings(text: str) -> Iterator[tuple[str, str, str]]:
    """Give path, default and description of each setting.

    Raises:
        ValueError: a value has no comment.
    """
    path: list[str] = []
    said: str | None = None
    inside = -1  # deeper than this is the default of a setting that has been told
    default: list[str] = []
    lines = [*text.splitlines(), "end:"]
    for number, line in enumerate(lines, 1):
        if match := _SAID.match(line):
            said = match[1]
            continue
        key = _KEY.match(line)
        if key is None:
            continue
        depth, name, value = len(key[1]) // 2, key[2], (key[3] or "").strip()
        if 0 <= inside < depth:
            default.append(f"{name}: {value}" if value else f"{name}:")
            continue
        if inside >= 0:
            yield _row(path, default)
            inside, default = -1, []
        path = [*path[:depth], name]
        if said is not None:
            path_said, said = said, None
            inside, default = depth, [value, path_said]
        elif value and line != lines[-1]:
            raise ValueError(f"values.yaml, line {number}: {name} has no comment `# --`")


def _row(path: list[str], default: list[str]) -> tuple[str, str, str]:
    value, said, *parts = default
    return ".".join(path), value or "{" + ", ".join(parts) + "}", said


def table(text: str) -> str:
    """Write the settings as a table."""
    rows = [
        f"| `{path}` | `{default}` | {said.replace('|', chr(92) + '|')} |"
        for path, default, said in settings(text)
    ]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"


def page(before: str, values: str) -> str:
    """Put the table of the values into a page, between its marks."""
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table(values)}{END}{tail}"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(), (CHART / "values.yaml").read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
