"""Reads a Dockerfile as a builder does: comments left out, continued lines joined, by stage."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FROM = re.compile(r"(\S+)(?:\s+AS\s+(\S+))?$", re.IGNORECASE)


@dataclass
class Stage:
    """A stage: its base, its name if any, and its instructions."""

    base: str
    name: str | None
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """Give what follows each instruction of this name."""
        return [rest for name, rest in self.instructions if name == word]


@dataclass
class Dockerfile:
    """What stands before the first stage, and the stages."""

    head: list[tuple[str, str]]
    stages: list[Stage]

    def ancestry(self) -> list[Stage]:
        """Give the last stage and those that it is built upon, the last one first."""
        named = {stage.name: stage for stage in self.stages if stage.name}
        found = [self.stages[-1]]
        while found[-1].base in named:
            found.append(named[found[-1].base])
        return found


def read_dockerfile(file: Path) -> Dockerfile:
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = Dockerfile([], [])
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM" and (match := _FROM.match(rest.strip())):
            found.stages.append(Stage(match[1], match[2]))
        elif found.stages:
            found.stages[-1].instructions.append((word, rest.strip()))
        else:
            found.head.append((word, rest.strip()))
    return found
