"""Agents of a folder: those that its `pyproject.toml` offers, without its being installed.

So `starlings dev orders` runs what `pip install ./orders` would offer.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from starlings.messages import ConfigError

from .installed import GROUP

PROJECT_FILE = "pyproject.toml"


def project_entries(folder: Path) -> dict[str, tuple[str, str]] | None:
    """Read what a folder offers: module and variable by the agent's name; None: no project.

    Raises:
        ConfigError: its `pyproject.toml` cannot be read, or offers no agent.
    """
    file = folder / PROJECT_FILE
    if not file.is_file():
        return None
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        table = document.get("project", {}).get("entry-points", {}).get(GROUP, {})
        entries = {str(name): _parts(str(value)) for name, value in table.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise _error(f"{file} cannot be read: {error}") from None
    if not entries:
        raise _error(
            f'{file} offers no agent; add [project.entry-points."{GROUP}"] with a line such as '
            'orders = "orders:agent"'
        )
    return entries


def source_folders(folder: Path) -> list[Path]:
    """Say where modules of a project may lie, the nearest first."""
    root = folder.resolve()
    return [each for each in (root, root / "src") if each.is_dir()]


def _parts(value: str) -> tuple[str, str]:
    module, _, attribute = value.partition("[")[0].strip().partition(":")
    return module.strip(), attribute.strip()


def _error(message: str) -> ConfigError:
    return ConfigError(message, code="agent_not_loaded")
