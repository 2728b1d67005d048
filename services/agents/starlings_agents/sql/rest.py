"""Asking a database over HTTP. All questions carry ids of ours, so each may be repeated."""

from __future__ import annotations

import json
from typing import Any

import httpx
import stamina

from starlings import StepFailed, TransientError

from .settings import Connection

ANSWER_BYTES = 256 * 1024 * 1024
TIMEOUT = httpx.Timeout(10.0, read=60.0)
TRIES = 4
_SAID = 1_000


class Rest:
    """One server, for as long as a query lasts."""

    def __init__(self, connection: Connection, base: str, *, wait_s: float = 0.5) -> None:
        self._connection = connection
        self._base = base.rstrip("/")
        self._wait_s = wait_s

    async def ask(
        self, method: str, path: str, *, also_ok: tuple[int, ...] = (), **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask for JSON, several times where it is needed.

        Raises:
            StepFailed: `not_permitted` or `query_failed`.
            TransientError: `connection_failed`.
        """
        async for attempt in stamina.retry_context(
            on=TransientError, attempts=TRIES, wait_initial=self._wait_s, timeout=None
        ):
            with attempt:
                return await self._once(method, path, also_ok, more)
        raise RuntimeError("the last try has returned or raised")

    async def _once(
        self, method: str, path: str, also_ok: tuple[int, ...], more: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with (
                httpx.AsyncClient(base_url=self._base, timeout=TIMEOUT, trust_env=True) as client,
                client.stream(method, path, **more) as response,
            ):
                body = await _read(response)
            status = response.status_code
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
        else:
            if response.is_success or status in also_ok:
                return status, _object(body)
            raise self._refusal(status, body)
        raise self._away(said)

    def _refusal(self, status: int, body: bytes) -> Exception:
        said = self._connection.freed(_message(body))
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:  # noqa: PLR2004 - HTTP
            return self._away(f"HTTP {status}: {said}")
        code = "not_permitted" if status in {401, 403} else "query_failed"
        return StepFailed(f"{self._connection.name} refused (HTTP {status}): {said}", code=code)

    def _away(self, said: str) -> TransientError:
        return TransientError(
            f"no answer from {self._connection.name}: {self._connection.freed(said)}; check "
            f"{self._connection.setting}",
            code="connection_failed",
        )


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise StepFailed(
                f"an answer has more than {ANSWER_BYTES:,} bytes", code="result_too_large"
            )
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TransientError("the answer is no JSON object", code="connection_failed")
    return found


def _message(body: bytes) -> str:
    try:
        told = json.loads(body)
        told = told.get("error", told)
        return str(told.get("message", told))[:_SAID]
    except (ValueError, AttributeError):
        return body.decode(errors="replace")[:_SAID]
