"""What is logged while a test runs, wherever the log of this process went before."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import structlog

from starlings.service import configure_logging


class Lines:
    """Everything that is logged, as text and as one JSON object a line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def __call__(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@contextlib.contextmanager
def logged(level: str = "info", **named: str) -> Iterator[Lines]:
    """Collect all log lines of this process; its settings are put back afterwards."""
    lines = Lines()
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    root.handlers = []
    configure_logging(level=level, log_format="json", stream=lines.stream, **named)
    try:
        yield lines
    finally:
        logging.captureWarnings(capture=False)
        root.handlers = handlers
        root.setLevel(before)
        structlog.reset_defaults()
