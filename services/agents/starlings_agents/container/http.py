"""Asking an engine over HTTP: its errors become ours, and no answer is read without end."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from starlings import StepFailed, TransientError

from .work import EngineRefused

JSON_LIMIT_BYTES = 16 * 1024 * 1024
TIMEOUT = httpx.Timeout(10.0, read=60.0)
_SAID_LIMIT = 1_000


class EngineClient:
    """Questions to one engine."""

    def __init__(self, client: httpx.AsyncClient, what: str, setting: str) -> None:
        self._client = client
        self._what = what
        self._setting = setting

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """Ask for JSON; an empty answer is None.

        Raises:
            EngineRefused: it answered with an error.
            TransientError: no answer, or one that may be better later.
            StepFailed: the answer makes no sense.
        """
        async with self.stream(method, path, **more) as response:
            body = await read_up_to(response, JSON_LIMIT_BYTES)
        try:
            return json.loads(body) if body.strip() else None
        except ValueError:
            raise self.nonsense() from None

    @asynccontextmanager
    async def stream(self, method: str, path: str, **more: Any) -> AsyncGenerator[httpx.Response]:
        """Ask, and read the answer oneself."""
        try:
            async with self._client.stream(method, path, **more) as response:
                if response.is_error:
                    await self._refuse(response)
                yield response
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise TransientError(
                f"{self._what} does not answer: {said}; check that it runs, and {self._setting}",
                code="engine_unavailable",
            ) from None

    def nonsense(self) -> StepFailed:
        """Make an error of an answer that is none of the engine's."""
        return StepFailed(
            f"{self._what} gave an answer that cannot be read; check {self._setting}",
            code="engine_nonsense",
            retryable=True,
        )

    async def _refuse(self, response: httpx.Response) -> None:
        body = await read_up_to(response, JSON_LIMIT_BYTES)
        said = _message(body)
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status in (502, 503, 504):
            raise TransientError(
                f"{self._what} answered HTTP {status}: {said}", code="engine_unavailable"
            )
        raise EngineRefused(f"{self._what} answered HTTP {status}: {said}", status)


async def read_up_to(response: httpx.Response, limit: int) -> bytes:
    """Read a body; of one that is longer, the beginning."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[:limit])


def _message(body: bytes) -> str:
    try:
        told = json.loads(body)
        said = told["message"] if isinstance(told, dict) else told
    except (ValueError, KeyError):
        said = body.decode(errors="replace")
    return " ".join(str(said).split())[:_SAID_LIMIT]
