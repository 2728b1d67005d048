"""The page of states in the docs is the one that the tables draw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_of_states_has_not_drifted_from_the_tables():
    drawn = subprocess.run(
        [sys.executable, DOCS / "states.py"], capture_output=True, check=True, encoding="utf-8"
    ).stdout
    told = (DOCS / "states.md").read_text(encoding="utf-8")
    assert told == drawn, "run: .venv/bin/python docs/states.py > docs/states.md"
