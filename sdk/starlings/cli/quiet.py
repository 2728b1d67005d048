"""Log lines of a command: none but warnings, each on one line of standard error.

The client library warns of the same thing in many words while a broker is away. Who connects says
himself what is wrong, so its first seconds are left out, and of the rest one line every ten seconds
is enough. Which model is used is told by the commands that use one. With `--verbose` everything is
shown as the services show it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from starlings.service import configure_logging

EVERY_S = 10.0
OWN_WORDS_FIRST_S = 5.0
TOLD_OTHERWISE = ("starlings.llm.endpoint",)
LONGEST = 400


class _OneLine(logging.Handler):
    """Writes to whatever standard error is now: a live display puts itself in between."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._library_began: float | None = None
        self._library_said = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, without traceback."""
        if record.name in TOLD_OTHERWISE:
            return
        if record.name.startswith("aiokafka") and not self._library_may_speak(time.monotonic()):
            return
        text = " ".join(record.getMessage().split())[:LONGEST]
        safe = "".join(c for c in text if c.isprintable())
        print(f"starlings: {safe}", file=sys.stderr, flush=True)  # noqa: T201 - a log line

    def _library_may_speak(self, now: float) -> bool:
        if self._library_began is None:
            self._library_began = now
        may = now - self._library_began >= OWN_WORDS_FIRST_S and now - self._library_said >= EVERY_S
        if may:
            self._library_said = now
        return may


def _in_words(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """Put an event into words: what happened, then what with."""
    text = str(event.pop("event", ""))
    event.pop("exc_info", None)
    said = ", ".join(f"{key} {value}" for key, value in event.items())
    return f"{text}: {said}" if said else text


def quiet_logging() -> None:
    """Show warnings only, each as one line."""
    structlog.configure(
        processors=[_in_words],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_OneLine()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def verbose_logging() -> None:
    """Show what the services would log."""
    configure_logging(level="info", log_format="pretty")
