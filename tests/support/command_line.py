"""The command line in this process, as a person without settings of their own meets it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from starlings.cli.app import app

ROOT = logging.getLogger()


class CommandLine:
    """Runs commands, and keeps what the last one wrote."""

    def __init__(self) -> None:
        self.stdout = self.stderr = ""

    def __call__(self, *argv: str, stdin: str | bytes | None = None) -> int:
        """Run one command; return its exit code."""
        result = CliRunner().invoke(app, list(argv), input=stdin, prog_name="starlings")
        self.stdout, self.stderr = result.stdout, result.stderr
        return result.exit_code

    @property
    def document(self) -> Any:
        """What the last command wrote, which must be JSON and nothing else."""
        return json.loads(self.stdout)


def command_line(
    monkeypatch: pytest.MonkeyPatch, folder: os.PathLike[str]
) -> Iterator[CommandLine]:
    """Have a command line in a folder of its own; log settings are put back afterwards."""
    for name in list(os.environ):
        if name.startswith(("KAFKA_", "STARLINGS_", "OPENAI_")) and "TEST" not in name:
            monkeypatch.delenv(name)
    monkeypatch.delenv("COLUMNS", raising=False)  # of whoever runs the tests in a terminal
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STARLINGS_BROKER_DATA", os.fspath(folder) + "/broker")
    handlers, level = list(ROOT.handlers), ROOT.level
    yield CommandLine()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    ROOT.handlers[:] = handlers
    ROOT.setLevel(level)
