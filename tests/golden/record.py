"""Record the golden logs anew: `PYTHONPATH=tests .venv/bin/python tests/golden/record.py NAME…`.

A recorded log is history: code that decides otherwise than recorded would break runs that are under
way when it is deployed. So record new stories at will, and old ones only where that is understood.
Without a name all that are missing are recorded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.golden.replay import read_lines
from support.golden.scenarios import SCENARIOS, altered, record

LOGS = Path(__file__).parent / "logs"


def write(name: str, lines: list[dict[str, object]]) -> None:
    """Write one log, a record a line."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (LOGS / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    LOGS.mkdir(exist_ok=True)
    missing = [name for name in SCENARIOS if not (LOGS / f"{name}.jsonl").exists()]
    for story in sys.argv[1:] or missing:
        write(story, record(story))
    write("altered", altered(read_lines(LOGS / "demo.jsonl")))
