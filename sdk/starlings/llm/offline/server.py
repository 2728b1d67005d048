"""The offline model as a server of the OpenAI chat protocol, on this machine only by default."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from starlings.messages.errors import ConfigError

from .answers import ANNOUNCEMENT, MODEL, answer, answer_turn

_START_LIMIT_S = 10.0
_BODY_LIMIT = 4 * 1024 * 1024


def create_app() -> Starlette:
    """Build the server: chat completions, the list of models, and a word on what this is."""
    return Starlette(
        routes=[
            Route("/", _about),
            Route("/v1/models", _models),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
        ]
    )


async def _about(_request: Request) -> Response:
    return PlainTextResponse(ANNOUNCEMENT + "\n")


async def _models(_request: Request) -> Response:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "starlings"}
    return JSONResponse({"object": "list", "data": [model]})


async def _chat(request: Request) -> Response:
    content = await request.body()
    if len(content) > _BODY_LIMIT:
        return _refusal(f"the request is larger than {_BODY_LIMIT:,} bytes", status=413)
    try:
        body = await request.json()
    except ValueError:
        return _refusal("the body is not JSON")
    messages = body.get("messages") if isinstance(body, dict) else None
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return _refusal("'messages' has to be a list of objects")
    if body.get("tools"):
        text, calls = answer_turn(messages, body["tools"])
    else:
        text, calls = answer(messages), []
    completion = _completion(text, calls)
    return _streamed(completion, text) if body.get("stream") else JSONResponse(completion)


def _streamed(completion: dict[str, Any], text: str) -> Response:
    """Send the same completion in chunks: the text word by word, then what remains of it."""
    message = completion["choices"][0]["message"]
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", []))]
    deltas: list[dict[str, Any]] = [{"content": piece} for piece in re.findall(r"\S+\s*|\s+", text)]
    deltas += [{"tool_calls": calls}] if calls else []
    about = {name: completion[name] for name in ("id", "created", "model")}
    about["object"] = "chat.completion.chunk"
    end = completion["choices"][0]["finish_reason"]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": end})
    chunks = [{**about, "choices": [choice]} for choice in choices]
    chunks.append({**about, "choices": [], "usage": completion["usage"]})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return StreamingResponse(_pieces([*lines, "data: [DONE]\n\n"]), media_type="text/event-stream")


async def _pieces(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


def _completion(text: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": call}
            for call in calls
        ]
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "tool_calls" if calls else "stop",
            }
        ],
        # rules cost nothing, and nobody shall count otherwise
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _refusal(message: str, *, status: int = 400) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status)


# -- running it --------------------------------------------------------------------------------


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket, so that the address is known before the server runs.

    Raises:
        ConfigError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"the offline model cannot listen on {host}:{port} ({error}); choose another --port, "
            "0 for any free one, or another --host"
        ) from None
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the address to use as OPENAI_BASE_URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class Server(uvicorn.Server):
    """uvicorn's server, which can be waited for from another thread."""

    def __init__(self) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(),
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=5,
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell those who wait."""
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def offline_server() -> Iterator[str]:
    """Run the offline model in a thread of this process; yields its base URL.

    A thread with an event loop of its own, since uvicorn would take the signals of the main one.
    """
    listener = listen("127.0.0.1", 0)
    server = Server()
    thread = threading.Thread(
        target=server.run,
        kwargs={"sockets": [listener]},
        name="starlings-offline-model",
        daemon=True,
    )
    thread.start()
    try:
        if not server.ready.wait(_START_LIMIT_S):
            raise ConfigError(
                f"the offline model did not start within {_START_LIMIT_S:g} s; set OPENAI_API_KEY "
                "or OPENAI_BASE_URL to use another model"
            )
        yield base_url(listener)
    finally:
        server.should_exit = True
        thread.join(_START_LIMIT_S)
        listener.close()
