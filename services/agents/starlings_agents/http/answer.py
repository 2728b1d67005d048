"""What an API answered, as a step's output: JSON as JSON, text as text, other bytes in base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any

from pydantic import JsonValue

from starlings import Result, StepFailed, TransientError
from starlings.messages import StarlingsError
from starlings_agents.net.charsets import read_text
from starlings_agents.net.fetching import Fetched, retry_after
from starlings_agents.net.secret_values import Redactor

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

_LEFT_OUT = frozenset({"set-cookie", "connection", "transfer-encoding", "keep-alive"})
_TEXT_TYPES = ("text/", "application/xml", "application/javascript", "application/x-yaml")
_TEXT_ENDINGS = ("+xml", "+yaml", "+text")
_SAID_LIMIT = 200


def result_of(
    answer: Fetched, redactor: Redactor, *, method: str, also_ok: Collection[int]
) -> Result:
    """Hand an answer on, without the secrets that it may repeat.

    Raises:
        StepFailed: `http_<status>`.
        TransientError: `http_<status>`, where the server may do it later.
    """
    ok = answer.status // 100 == 2 or answer.status in also_ok  # noqa: PLR2004 - HTTP's good ones
    body = _body(answer, redactor)
    if not ok:
        raise _refused(answer, body, method)
    headers = {
        redactor.text(name): redactor.text(value)
        for name, value in answer.headers.items()
        if name not in _LEFT_OUT
    }
    output = {
        "status": answer.status,
        "url": redactor.text(answer.shown),
        "media_type": redactor.text(answer.media_type),
        "headers": headers,
        "body": body,
    }
    said = _shown(body)
    summary = f"HTTP {answer.status} from {method} {output['url']}" + (f": {said}" if said else "")
    return Result(output, summary=summary[:300])


def _body(answer: Fetched, redactor: Redactor) -> JsonValue:
    kind = answer.media_type
    if not answer.body:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        value = _json(answer.body)
        if value is not None:
            return redactor.value(value)
    if (
        kind in {"", "application/json"}
        or kind.startswith(_TEXT_TYPES)
        or kind.endswith(_TEXT_ENDINGS)
    ):
        return redactor.text(read_text(answer.body, answer.charset))
    data = redactor.data(answer.body)
    return {"base64": base64.b64encode(data).decode(), "size_bytes": len(data)}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _refused(answer: Fetched, body: JsonValue, method: str) -> StarlingsError:
    said = _shown(body)
    text = f"{answer.shown} answered HTTP {answer.status} to {method}" + (
        f": {said}" if said else ""
    )
    code = f"http_{answer.status}"
    if answer.status in RETRIED:
        return TransientError(text, code=code, retry_after_s=retry_after(answer.headers))
    return StepFailed(text, code=code)


def _shown(body: JsonValue) -> str:
    if body is None or (isinstance(body, dict) and "base64" in body):
        return ""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SAID_LIMIT else text[: _SAID_LIMIT - 1] + "…"
