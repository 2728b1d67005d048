"""`/healthz`, `/readyz` and `/metrics` of a service, served by a thread of their own.

- `/healthz` says whether the event loop still turns: 503 once its heartbeat is older than the
  limit. Lag, a broker that is away or a slow model never make it fail, because a restart mends
  none of them.
- `/readyz` says whether the service does its work now, and if not, why.
- `/metrics` is for Prometheus.

A thread, because a loop that is blocked could not say so itself.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from starlings.messages import ConfigError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = structlog.get_logger(__name__)

HEARTBEAT_LIMIT_S = 15.0
Readiness = Callable[[], str | None]


class Heartbeat:
    """When the event loop turned last; other loops can be made to count as well."""

    def __init__(
        self,
        limit_s: float = HEARTBEAT_LIMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._last = clock()
        self._followed: dict[str, Callable[[], float | None]] = {}

    def beat(self) -> None:
        """Say that the loop turns."""
        self._last = self._clock()

    def follow(self, name: str, last_turn: Callable[[], float | None]) -> None:
        """Let another loop count: `last_turn` gives its last turn on the monotonic clock.

        None means that it has not begun, or has ended, and counts as alive.
        """
        self._followed[name] = last_turn

    def unfollow(self, name: str) -> None:
        """Let a loop count no longer."""
        self._followed.pop(name, None)

    def age_s(self) -> float:
        """Give the seconds since the last turn of the loop that is furthest behind."""
        return max(age for _, age in self._ages())

    def late(self) -> str | None:
        """Name the loops that have not turned within the limit; None where all have."""
        late = [f"{name} for {age:.1f} s" for name, age in self._ages() if age > self.limit_s]
        if not late:
            return None
        return f"no turn of {', '.join(late)} (limit {self.limit_s:g} s)"

    def _ages(self) -> list[tuple[str, float]]:
        now = self._clock()
        turns = [("event loop", self._last)]
        for name, last_turn in list(self._followed.items()):
            turn = last_turn()
            if turn is not None:
                turns.append((name, turn))
        return [(name, max(0.0, now - turn)) for name, turn in turns]


class HealthServer:
    """Serves the three endpoints until it is stopped; `port` is known once it has started."""

    def __init__(
        self,
        heartbeat: Heartbeat,
        registry: CollectorRegistry,
        *,
        host: str = "127.0.0.1",
        port: int | None = 0,
    ) -> None:
        self._heartbeat = heartbeat
        self._metrics = make_wsgi_app(registry)
        self._host = host
        self._wanted = port
        self._readiness: Readiness = _starting
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._stack_logged = False

    @property
    def port(self) -> int | None:
        """The port it listens on; None while it does not."""
        return self._server.server_port if self._server else None

    @property
    def url(self) -> str | None:
        """Where it answers, such as `http://127.0.0.1:8080`; None while it does not."""
        if self._server is None:
            return None
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}"

    def ready_when(self, readiness: Readiness) -> None:
        """Set the question that `/readyz` asks: None means ready, a text says why not.

        It is called by another thread, so it must only look and never wait.
        """
        self._readiness = readiness

    def start(self) -> None:
        """Listen; does nothing where the port is off."""
        if self._wanted is None:
            return
        self._server = _listen(self._host, self._wanted)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="health",
            daemon=True,
        )
        self._thread.start()
        log.info("health endpoints listen", url=self.url)

    def stop(self) -> None:
        """Close the port."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()
        self._server = self._thread = None

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _text(start, "405 Method Not Allowed", "only GET")
        if path == "/healthz":
            return self._report(start, "not alive", self._dead())
        if path == "/readyz":
            return self._report(start, "not ready", self._not_ready())
        if path == "/metrics":
            body: Iterable[bytes] = self._metrics(environ, start)
            return body
        return _text(start, "404 Not Found", "here are /healthz, /readyz and /metrics")

    @staticmethod
    def _report(start: StartResponse, verdict: str, reason: str | None) -> Iterable[bytes]:
        if reason is None:
            return _text(start, "200 OK", "ok")
        return _text(start, "503 Service Unavailable", f"{verdict}: {reason}")

    def _dead(self) -> str | None:
        late = self._heartbeat.late()
        if late and not self._stack_logged:
            log.error("the loop does not turn", reason=late, main_thread=_main_stack())
        self._stack_logged = late is not None
        return late

    def _not_ready(self) -> str | None:
        try:
            return self._readiness()
        except Exception as error:
            log.exception("readiness cannot be told")
            return f"readiness cannot be told: {type(error).__name__}"


def _starting() -> str | None:
    return "starting"


def _main_stack() -> str:
    """Show where the main thread is: whoever restarts a stuck service wants to know why."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    return "".join(traceback.format_stack(frame)) if frame else ""


def _text(start: StartResponse, status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    start(status, headers)
    return [body]


class _Handler(WSGIRequestHandler):
    timeout: ClassVar[float] = 5.0  # a peer that sends nothing holds no thread for long

    def log_message(self, *_: Any) -> None:
        """Keep quiet: a probe every few seconds is no news."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def server_bind(self) -> None:
        """Bind without asking DNS for the host's full name, as the base class would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """A peer that hung up is no news either."""
        log.debug("a health request broke off", reason=repr(sys.exc_info()[1]))


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(host: str, port: int) -> _Server:
    server = _Server6 if ":" in host else _Server
    try:
        return server((host, port), _Handler)
    except OSError as error:
        raise ConfigError(
            f"the health endpoints cannot listen on STARLINGS_HEALTH_HOST={host}, "
            f"STARLINGS_HEALTH_PORT={port}: {error.strerror or error}; choose another port, "
            "0 for any free one, or off"
        ) from error
