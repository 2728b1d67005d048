"""A model server that misbehaves as told: real HTTP on loopback, replies from a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from starlings.llm.provider import forget


@dataclass
class Reply:
    """One reply: a chat completion with this text, unless told otherwise."""

    text: str | None = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    message: dict[str, Any] = field(default_factory=dict)
    body: Any = None  # sent instead of a completion; text goes out as it is
    hangs: bool = False  # takes the request, and says nothing until the server stops
    hangs_up: bool = False  # closes the connection without a word

    def content(self) -> bytes:
        if self.body is not None:
            return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()
        if self.status != 200:
            return json.dumps({"error": {"message": self.text, "code": None}}).encode()
        message = {"role": "assistant", "content": self.text, **self.message}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "scripted-1"}
        return json.dumps({**reply, "choices": [choice], "usage": usage}).encode()


def refusal(status: int, message: str = "no", **headers: str) -> Reply:
    """An HTTP error; `retry_after="1"` becomes the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(message, status=status, headers=named)


class ModelServer:
    """Replies from its script, in order; keeps every request."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.stopped = threading.Event()
        self.base_url = ""

    def replies(self, *script: Reply | str) -> None:
        """Set what comes next; a text is a completion with that text."""
        self.script = [Reply(reply) if isinstance(reply, str) else reply for reply in script]

    @property
    def formats(self) -> list[str]:
        """How JSON was asked for, per request."""
        asked = (request.get("response_format") or {} for request in self.requests)
        return [str(each.get("type", "prompt")) for each in asked]

    def next_reply(self, request: dict[str, Any], headers: dict[str, str]) -> Reply:
        self.requests.append(request)
        self.headers.append(headers)
        return self.script.pop(0) if self.script else refusal(418, "the test's script is over")


@contextmanager
def model_server(model: ModelServer | None = None) -> Iterator[ModelServer]:
    """Run a model server on a free port of this machine."""
    model = model or ModelServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(model))
    http.block_on_close = True
    model.base_url = f"http://127.0.0.1:{http.server_port}/v1"
    forget(model.base_url)  # a port may have been another test's
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.stopped.set()
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(model: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # no keep-alive: a handler ends with its request

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            model.paths.append(self.path)
            reply = model.next_reply(
                json.loads(body), {name.lower(): value for name, value in self.headers.items()}
            )
            if reply.hangs:
                model.stopped.wait()
            if reply.hangs or reply.hangs_up:
                return
            content = reply.content()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """Say nothing: the test's output is for the test."""

    return Handler
