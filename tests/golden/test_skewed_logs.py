"""Recorded logs as the next version would have written them are decided as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden.replay import read_lines, replay

LOGS = Path(__file__).parent / "logs"
NAMES = sorted(path.stem for path in LOGS.glob("*.jsonl") if path.stem != "altered")
LATER = {"comes_with_a_later_version": {"deep": [1, {"x": None}]}}


@pytest.mark.parametrize("name", NAMES)
def test_fields_that_this_version_does_not_know_change_no_decision(name):
    lines = read_lines(LOGS / f"{name}.jsonl")
    later = [{**line, "value": {**line["value"], **LATER}} for line in lines]
    assert replay(later) == []
