"""Log lines: JSON for machines, pretty in a terminal, each with its run, step and trace.

Every line goes to standard error, those of libraries too. What is bound with `log_context` stands
on each line below it, in the same task and in tasks that it starts. Tracebacks show no values of
variables, since these may be secrets.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, MutableMapping
from contextvars import ContextVar, Token
from typing import Any, TextIO

import orjson
import structlog

from starlings.telemetry.traceparent import trace_id

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
Event = MutableMapping[str, Any]

_QUIET_EVERY_S = 10.0
_QUIET_KINDS = 1_000


class RateLimit(logging.Filter):
    """Let one line of a kind through every few seconds, and say how many were left out.

    While a broker is away, aiokafka logs thousands of lines a minute. A kind is a logger, a level
    and a message before its arguments are filled in; other loggers pass untouched.
    """

    def __init__(
        self,
        *prefixes: str,
        every_s: float = _QUIET_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._prefixes = prefixes
        self._every_s = every_s
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one line; a line that passes tells how many did not."""
        if not record.name.startswith(self._prefixes):
            return True
        kind = (record.name, record.levelno, str(record.msg))
        now = self._clock()
        with self._lock:
            last, left_out = self._seen.get(kind, (None, 0))
            if last is not None and now - last < self._every_s:
                self._seen[kind] = (last, left_out + 1)
                return False
            if len(self._seen) >= _QUIET_KINDS:
                self._seen.clear()
            self._seen[kind] = (now, 0)
        if left_out:
            record.left_out = left_out
        return True


#: What aiokafka says of states that pass by themselves, and are worth a line only where they last.
PASSING = frozenset(
    {
        "Heartbeat failed for group %s because it is rebalancing",
        "Group Coordinator Request failed: %s",
        "Marking the coordinator dead (node %s)for group %s.",
    }
)
_PASSED_AFTER_S = 5.0


class HoldBack(logging.Filter):
    """Let lines of some messages through only when they have gone on for a while."""

    def __init__(
        self,
        messages: Collection[str] = PASSING,
        *,
        lasting_s: float = _PASSED_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._messages = messages
        self._lasting_s = lasting_s
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}  # message → first of a row, latest
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one line; a row of lines has ended where none came for `lasting_s`."""
        message = str(record.msg)
        if message not in self._messages:
            return True
        now = self._clock()
        with self._lock:
            first, latest = self._seen.get(message, (now, now))
            if now - latest > self._lasting_s:
                first = now
            self._seen[message] = (first, now)
        return now - first >= self._lasting_s


#: Libraries whose news at level info are of no use to an operator.
CHATTY = ("aiokafka", "asyncio", "httpcore", "httpcore2", "httpx", "httpx2", "openai")

#: Libraries whose lines at level debug hold headers of requests and answers, and so secrets.
TELLING = ("httpcore", "httpcore2")


def configure_logging(
    *,
    level: str = "info",
    log_format: str = "auto",
    stream: TextIO | None = None,
    service: str | None = None,
    instance: str | None = None,
) -> None:
    """Send all log lines, of structlog and of the standard library, to one place in one form.

    `log_format` is `auto` (pretty where `stream` is a terminal), `json` or `pretty`. May be called
    again: the latest call counts.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    pretty = log_format == "pretty" or (log_format == "auto" and terminal)
    shared = _shared_processors(
        {"service": service} if pretty else {"service": service, "instance": instance}
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(HoldBack())
    handler.addFilter(RateLimit("aiokafka", "opentelemetry"))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_left_out, *shared], processors=_renderers(pretty, colors=terminal)
        )
    )
    logging.basicConfig(handlers=[handler], level=LEVELS[level], force=True)
    for chatty in CHATTY:
        debug = logging.INFO if chatty in TELLING else logging.DEBUG
        logging.getLogger(chatty).setLevel(
            debug if level == "debug" else max(LEVELS[level], logging.WARNING)
        )
    # Whoever tries again says so, in words that tell what is tried.
    logging.getLogger("stamina").setLevel(logging.DEBUG if level == "debug" else logging.ERROR)
    logging.captureWarnings(capture=True)


_ids: ContextVar[dict[str, str]] = ContextVar("starlings_log_ids")


class log_context:  # noqa: N801 - used as a function; a class costs less, and each step pays it
    """Put `run`, `step` and `trace` on every log line within the block."""

    __slots__ = ("_given", "_token")

    def __init__(
        self,
        *,
        run_id: str | None = None,
        step_id: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        ids = {"run": run_id, "step": step_id, "trace": traceparent}
        self._given = {name: value for name, value in ids.items() if value is not None}
        self._token: Token[dict[str, str]] | None = None

    def __enter__(self) -> None:
        self._token = _ids.set({**_ids.get({}), **self._given})

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _ids.reset(self._token)


def _add_ids(_logger: Any, _method: str, event: Event) -> Event:
    for name, value in _ids.get({}).items():
        shown = trace_id(value) if name == "trace" else value  # read only where a line is written
        if shown is not None:
            event.setdefault(name, shown)
    return event


def _shared_processors(constants: dict[str, str | None]) -> list[structlog.typing.Processor]:
    present = {name: value for name, value in constants.items() if value}

    def add_constants(_logger: Any, _method: str, event: Event) -> Event:
        for name, value in present.items():
            event.setdefault(name, value)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        _add_ids,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        add_constants,
    ]


def _left_out(_logger: Any, _method: str, event: Event) -> Event:
    left_out = getattr(event.get("_record"), "left_out", 0)
    if left_out:
        event["left_out"] = left_out
    return event


def _renderers(pretty: bool, *, colors: bool) -> list[structlog.typing.Processor]:  # noqa: FBT001
    drop = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if pretty:
        console = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )
        return [drop, console]
    return [
        drop,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # integers above 64 bits, lone surrogates
        return json.dumps(event, default=repr)
