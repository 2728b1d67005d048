"""Reading plans from YAML or JSON files, or from standard input.

A file holds a plan (`steps: […]`, or just the list), or a whole request with a `plan` and options
beside it, as the topic `requests` accepts it. YAML's dates stay text, since a plan is JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from starlings.messages import ConfigError

STDIN = "-"
SIZE_LIMIT = 32 * 1024 * 1024
NODES_LIMIT = 5_000_000
LEVELS_LIMIT = 100  # messages take 200, and a plan stands within one


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML as JSON's types only."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_plan_file(name: str) -> dict[str, Any]:
    """Read a file into the fields of a request; the plan itself is not checked here.

    Raises:
        ConfigError: the file cannot be read, or is no YAML or JSON that could hold a plan.
    """
    text = _text(name)
    try:
        if _levels(text) > LEVELS_LIMIT:
            raise ConfigError(f"{called(name)} is nested deeper than {LEVELS_LIMIT} levels")
        data = yaml.load(text, _Loader)  # noqa: S506 - a safe loader with fewer types
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{called(name)} is neither YAML nor JSON: {said}") from None
    if _nodes(data) > NODES_LIMIT:
        raise ConfigError(f"{called(name)} unfolds to more than {NODES_LIMIT:,} values")
    if isinstance(data, dict) and "plan" in data and "steps" not in data:
        return data
    if isinstance(data, list) or (isinstance(data, dict) and "steps" in data):
        return {"plan": data}
    raise ConfigError(
        f"{called(name)} holds no plan: write `steps:` and a list of steps, each with an `agent` "
        "and a `task`"
    )


def _text(name: str) -> str:
    try:
        if name == STDIN:
            raw = sys.stdin.buffer.read(SIZE_LIMIT + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{called(name)} cannot be read: {error.strerror or error}") from None
    if len(raw) > SIZE_LIMIT:
        raise ConfigError(f"{called(name)} is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{called(name)} is not UTF-8 (byte {error.start})") from None


def called(name: str) -> str:
    """Name a file as people would."""
    return "standard input" if name == STDIN else name


def _levels(text: str) -> int:
    """Count how deeply a text is nested, before anything recurses into it."""
    deepest = level = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            deepest = max(deepest, level)
            if deepest > LEVELS_LIMIT:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
    return deepest


def _nodes(data: Any) -> int:
    """Count values as if every alias were written out, without writing them out."""
    counted: dict[int, int] = {}

    def count(value: Any) -> int:
        if not isinstance(value, dict | list):
            return 1
        if id(value) not in counted:
            counted[id(value)] = NODES_LIMIT + 1  # what contains itself has no end
            inner = value.values() if isinstance(value, dict) else value
            counted[id(value)] = 1 + sum(count(item) for item in inner)
        return counted[id(value)]

    return count(data)
