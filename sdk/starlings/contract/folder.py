"""The folder `schemas/`: writing it, finding where it drifted, pinning what is released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlings.messages import MESSAGES

from .compatibility import breaking_changes
from .publication import as_json, documents, schema_path
from .schemas import message_schema

RELEASED = "released"
EXAMPLES = "examples"
_WRITTEN_BY_HAND = (RELEASED, EXAMPLES)


def write(folder: Path) -> list[str]:
    """Write what differs and remove what is no longer generated; give the paths touched."""
    touched = drift(folder)
    wanted = documents()
    for path in touched:
        file = folder / path
        if path in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[path], encoding="utf-8")
        else:
            file.unlink()
    return touched


def drift(folder: Path) -> list[str]:
    """Find the files that are missing, differ, or should not be there."""
    wanted = documents()
    present = _generated(folder)
    differing = [path for path, text in wanted.items() if present.get(path) != text]
    return sorted({*differing, *(present.keys() - wanted.keys())})


def broken_releases(folder: Path) -> list[str]:
    """Say how today's models break what was released; empty where they do not."""
    now = {schema_path(model): message_schema(model) for model in MESSAGES.values()}
    problems = []
    for path, old in sorted(_released(folder).items()):
        if path in now:
            problems += [f"{path}: {said}" for said in breaking_changes(old, now[path])]
        else:
            problems.append(f"{path}: released, but no longer published")
    return problems


def release(folder: Path) -> list[str]:
    """Pin today's schemas; give the problems instead, where one of them breaks a released one."""
    problems = broken_releases(folder)
    if problems:
        return problems
    for model in MESSAGES.values():
        file = folder / RELEASED / schema_path(model)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(as_json(message_schema(model)), encoding="utf-8")
    return []


def _generated(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    texts = {}
    for file in files:
        path = file.relative_to(folder)
        if path.parts[0] not in _WRITTEN_BY_HAND:
            texts[path.as_posix()] = file.read_text(encoding="utf-8")
    return texts


def _released(folder: Path) -> dict[str, Any]:
    pinned = folder / RELEASED
    return {
        file.relative_to(pinned).as_posix(): json.loads(file.read_text(encoding="utf-8"))
        for file in pinned.rglob("*.json")
    }
