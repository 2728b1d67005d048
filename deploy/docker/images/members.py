"""The packages of this repository: what each asks for, by its `pyproject.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .lock import normal

FOLDERS = ("sdk", "services/planner", "services/coordinator", "services/agents")
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")


@dataclass
class Wanted:
    """What an image installs: folders of this repository, and names that stand in the lock."""

    members: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)


def read_members(root: Path) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Read the packages of the repository: name → (folder, its `[project]`)."""
    found = {}
    for folder in FOLDERS:
        project = tomllib.loads((root / folder / "pyproject.toml").read_text("utf-8"))["project"]
        found[normal(project["name"])] = (folder, project)
    return found


def split(requirement: str) -> tuple[str, frozenset[str]]:
    """Split `name[extra,extra]>=1; marker` into the name and its extras.

    Raises:
        ValueError: it does not begin with a name.
    """
    match = _REQUIREMENT.match(requirement)
    if match is None:
        raise ValueError(f"{requirement!r} is no requirement")
    extras = (extra.strip() for extra in (match[2] or "").split(","))
    return normal(match[1]), frozenset(extra for extra in extras if extra)


def wanted(root: Path, requirements: Iterable[str]) -> Wanted:
    """Follow requirements through the packages of this repository, each with its extras.

    Raises:
        ValueError: a package has no such extra.
    """
    members, result = read_members(root), Wanted()
    ahead, seen = [split(text) for text in requirements], set()
    while ahead:
        name, extras = ahead.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in members:
            result.foreign.add(name)
            continue
        folder, project = members[name]
        result.members.add(folder)
        ahead += [split(text) for text in _asked(name, project, extras)]
    return result


def _asked(name: str, project: Mapping[str, Any], extras: Iterable[str]) -> list[str]:
    optional = project.get("optional-dependencies", {})
    texts = list(project.get("dependencies", []))
    for extra in extras:
        if extra not in optional:
            raise ValueError(f"{name} has no extra {extra!r}; it has {', '.join(sorted(optional))}")
        texts += optional[extra]
    return texts
