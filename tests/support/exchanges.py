"""Recorded exchanges with systems that a test machine may not have, played back over real HTTP.

A recording is a list of questions with their answers. Played back, each question is answered as it
was, one after the other for the same question, the last answer for ever. The code under test is
the real one, its transport too: a loopback address or a unix socket.

Where `upstream` is given, questions go on to the real system, and the recording is written anew.
"""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

FOLDER = Path(__file__).parent.parent / "integration" / "exchanges"


class Exchanges:
    """What was asked; safe to be read by the test's own thread."""

    def __init__(self, recorded: list[dict[str, Any]], upstream: httpx.Client | None) -> None:
        self.recorded = recorded
        self.url = ""
        self.asked: list[tuple[str, str, Any]] = []  # method, path with query, body
        self._upstream = upstream
        self._answered: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, method: str, part: str) -> int:
        return sum(1 for asked in self.asked if asked[0] == method and part in asked[1])

    def answer(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes]:
        with self._lock:
            self.asked.append((method, path, _json(body)))
        if self._upstream is not None:
            return self._forward(method, path, body, headers)
        with self._lock:
            fitting = [e for e in self.recorded if (e["method"], e["path"]) == (method, path)]
            number = self._answered[method, path]
            self._answered[method, path] += 1
        if not fitting:
            return 599, f"nothing is recorded for {method} {path}".encode()
        found = fitting[min(number, len(fitting) - 1)]
        if "base64" in found:
            return found["status"], base64.b64decode(found["base64"])
        return found["status"], found.get("text", json.dumps(found.get("json"))).encode()

    def _forward(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes]:
        given = {"content-type": headers.get("content-type", "application/json")}
        got = self._upstream.request(method, path, content=body, headers=given)
        entry: dict[str, Any] = {"method": method, "path": path, "status": got.status_code}
        try:
            entry["json"] = _brief(got.json())
        except ValueError:
            try:
                entry["text"] = got.content.decode()
            except UnicodeDecodeError:
                entry["base64"] = base64.b64encode(got.content).decode()
        with self._lock:
            self.recorded.append(entry)
        return got.status_code, got.content


class _Handler(BaseHTTPRequestHandler):
    exchanges: Exchanges

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, answer = self.exchanges.answer(self.command, self.path, body, self.headers)
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            self.close_connection = True  # whoever asked was stopped

    do_GET = do_POST = do_DELETE = do_PUT = _any  # noqa: N815 - as the server looks for them

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_args: object) -> None:
        pass


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _TcpServer(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def played(
    recorded: list[dict[str, Any]], *, socket: Path | None = None, upstream: httpx.Client | None
) -> Iterator[Exchanges]:
    """Serve for as long as the block lasts; `url` says where."""
    exchanges = Exchanges(recorded, upstream)
    handler = type("Handler", (_Handler,), {"exchanges": exchanges})
    server: Any
    if socket is not None:
        server = _UnixServer(str(socket), handler)
        exchanges.url = f"unix://{socket}"
    else:
        server = _TcpServer(("127.0.0.1", 0), handler)
        exchanges.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield exchanges
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def recording(name: str, *, socket: Path | None = None, record: str) -> Iterator[Exchanges]:
    """Play back `<name>.json`; where the variable `record` is set, ask what it names, and write.

    It names an engine: `unix:///path/of/the.sock` or `http://host:port`.
    """
    path = FOLDER / f"{name}.json"
    real = os.environ.get(record)
    if not real:
        with played(json.loads(path.read_text()), socket=socket, upstream=None) as exchanges:
            yield exchanges
        return
    with _client(real) as upstream, played([], socket=socket, upstream=upstream) as exchanges:
        yield exchanges
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(exchanges.recorded, indent=1, sort_keys=True) + "\n")


def _client(real: str) -> httpx.Client:
    if real.startswith("unix://"):
        transport = httpx.HTTPTransport(uds=real.removeprefix("unix://"))
        return httpx.Client(transport=transport, base_url="http://engine", timeout=60)
    return httpx.Client(base_url=real, timeout=60)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _brief(value: Any) -> Any:
    """Leave out who changed what of a Kubernetes object: half of it, and nobody's business."""
    if isinstance(value, dict):
        return {key: _brief(part) for key, part in value.items() if key != "managedFields"}
    return [_brief(part) for part in value] if isinstance(value, list) else value
