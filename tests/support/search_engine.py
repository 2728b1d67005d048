"""A search engine on loopback, in the place of a public one: a proxy that answers itself.

It speaks TLS under the engine's name, by a certificate of a test authority. So the library that
asks the engine runs as it is, its TLS, its parsing and all.
"""

from __future__ import annotations

import html
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from .certificates import Authority

HOST = "html.duckduckgo.com"


@dataclass
class SearchEngine:
    """What it finds, whatever it is asked: title, address and snippet; and what it was asked."""

    proxy: str = ""
    ca_file: str = ""
    found: list[tuple[str, str, str]] = field(default_factory=list)
    status: int = 200
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def page(self) -> bytes:
        """Write what was found as the engine does."""
        bodies = [
            f'<div class="result__body links_main"><h2><a href="{html.escape(url)}">'
            f'{html.escape(title)}</a></h2><a class="result__snippet" href="{html.escape(url)}">'
            f"{html.escape(snippet)}</a></div>"
            for title, url, snippet in self.found
        ]
        return f"<html><body>{''.join(bodies)}</body></html>".encode()


@contextmanager
def search_engine(folder: Path) -> Iterator[SearchEngine]:
    """Run an engine behind a proxy on a free port."""
    authority = Authority(folder)
    engine = SearchEngine(ca_file=str(authority.cafile))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("engine", HOST))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine, context))
    server.daemon_threads = True
    engine.proxy = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(engine: SearchEngine, context: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError), context.wrap_socket(self.connection, server_side=True) as inner:
                Inner(inner, self.client_address, self.server)  # type: ignore[arg-type]
            self.close_connection = True

        def log_message(self, *_args: object) -> None:
            pass

    class Inner(Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            engine.asked.append(parse_qs(self.rfile.read(length).decode()))
            body = engine.page()
            self.send_response(engine.status)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

    return Handler
