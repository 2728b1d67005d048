"""A web server on loopback that answers as told: pages by path, and what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What a client asked for; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Page:
    """An answer: a body, or pieces that are sent until the client has enough."""

    body: bytes | str | Iterable[bytes] = b""
    status: int = 200
    type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False


@dataclass
class WebServer:
    """Pages by their path (without query); a function of the request makes a page anew."""

    url: str = ""
    port: int = 0
    pages: dict[str, Page | Callable[[Request], Page]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def page(self, request: Request) -> Page:
        """Find the answer to a request."""
        self.asked.append(request)
        page = self.pages.get(request.path.partition("?")[0], Page("no such page", status=404))
        return page(request) if callable(page) else page


@contextmanager
def web_server(host: str = "127.0.0.1") -> Iterator[WebServer]:
    """Run a web server on a free port of an address of this machine."""
    web = WebServer()
    server = ThreadingHTTPServer((host, 0), _handler(web))
    web.port = server.server_port
    web.url = f"http://{host}:{web.port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(web: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            page = web.page(Request(self.command, self.path, headers, body))
            if page.hangs:
                web.stopped.wait(60)
                return
            self.send_response(page.status)
            for name, value in {"content-type": page.type, **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):  # the client had enough
                self.send_body(page)

        def send_body(self, page: Page) -> None:
            if self.command == "HEAD":
                return
            whole = page.body.encode() if isinstance(page.body, str) else page.body
            for piece in [whole] if isinstance(whole, bytes) else whole:
                if web.stopped.is_set():
                    return
                self.wfile.write(piece)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    return Handler
