"""Where a profiled process spent its time: each sample goes to one room of the house.

A sample belongs to the innermost frame of ours or of the Kafka client, so that what libraries like
Pydantic, json or asyncio do is charged to whoever called them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

LOOP = "event loop"
_OWN = ("starlings", "aiokafka", "benchmarks")
_LEVELS = {"aiokafka": 2, "starlings": 3, "benchmarks": 2}
_ENTRIES = ("benchmarks.profiled", "starlings.service.run", "starlings.agents.service")


def shares(file: Path) -> Counter[str]:
    """Count the samples of each module that took any."""
    found: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        found[_owner(stack.split(";"))] += int(count)
    return found


def _owner(frames: list[str]) -> str:
    for frame in reversed(frames):
        module = frame.partition(":")[0]
        parts = module.split(".")
        root = parts[0].partition("_")[0]  # a service's package is starlings_<name>
        if root in _OWN and module not in _ENTRIES:
            return ".".join(parts[: _LEVELS[root]])
    return LOOP


def lines(file: Path, *, most: int = 12) -> list[str]:
    """Write the largest shares of a process."""
    found = shares(file)
    total = sum(found.values())
    return [f"{count / total:6.1%}  {name}" for name, count in found.most_common(most)]
