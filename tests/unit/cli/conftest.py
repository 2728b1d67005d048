from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.command_line import CommandLine, command_line


@pytest.fixture
def starlings(monkeypatch, tmp_path) -> Iterator[CommandLine]:
    """The command line, in an empty folder and without settings."""
    yield from command_line(monkeypatch, tmp_path)
