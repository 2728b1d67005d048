"""Read the body of a chat completion, trusting nothing in it.

Read by hand instead of through the client library's models: those take any JSON without looking,
and fail later and elsewhere when a server left something out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlings.messages.errors import StarlingsError, TransientError
from starlings.messages.facts import Usage

from . import errors
from .endpoint import Endpoint
from .errors import ModelFailed

_SAID_LIMIT = 200


@dataclass(frozen=True)
class Reply:
    """What came back: the text, who wrote it, what it cost."""

    text: str
    model: str
    usage: Usage


def read_reply(content: bytes, endpoint: Endpoint) -> Reply:
    """Read the answer's text and what it cost.

    Raises:
        ModelFailed: the body is no chat completion, or the model refused, or was cut off.
        TransientError: the body says, in spite of HTTP 200, that the provider has troubles.
    """
    body = _json_object(content)
    if isinstance(body.get("error"), dict) and not body.get("choices"):
        raise _error_within(body["error"], endpoint)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _no_completion(content, endpoint)
    model = str(body.get("model") or endpoint.model)
    usage = _usage(body.get("usage"), model)
    _check_end(choice.get("finish_reason"), message, usage)
    return Reply(text=_text(message.get("content")), model=model, usage=usage)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _no_completion(content: bytes, endpoint: Endpoint) -> ModelFailed:
    begins = " ".join(content[:_SAID_LIMIT].decode(errors="replace").split())
    return ModelFailed(
        f"{endpoint.host} answered with something that is no chat completion: {begins!r}",
        code=errors.BAD_RESPONSE,
        remedy=f"check OPENAI_BASE_URL ({endpoint.host}); it often has to end in /v1",
    )


def _error_within(error: dict[str, Any], endpoint: Endpoint) -> StarlingsError:
    said = " ".join(str(error.get("message") or error).split())[:_SAID_LIMIT]
    text = f"{endpoint.host} answered with an error: {said}"
    code = error.get("code")
    if code == 429:  # noqa: PLR2004 - HTTP: too many requests
        return TransientError(text, code=errors.RATE_LIMITED, cooldown=True)
    if isinstance(code, int) and code >= 500:  # noqa: PLR2004 - HTTP: server errors
        return TransientError(text, code=errors.UNAVAILABLE, cooldown=True)
    return ModelFailed(text, code=errors.BAD_RESPONSE, remedy="ask the model's provider")


def _check_end(finish_reason: Any, message: dict[str, Any], usage: Usage) -> None:
    if finish_reason == "length":
        raise ModelFailed(
            f"the model was cut off after {usage.output_tokens} tokens (finish_reason=length)",
            code=errors.OUTPUT_TRUNCATED,
            remedy="raise STARLINGS_MAX_TOKENS, or ask for less at once",
            usage=usage,
        )
    refusal = message.get("refusal")
    if refusal or finish_reason == "content_filter":
        why = str(refusal or "stopped by the provider's content filter")[:_SAID_LIMIT]
        raise ModelFailed(
            f"the model refused: {why}",
            code=errors.REFUSED,
            remedy="put the request in other words, or choose another STARLINGS_MODEL",
            usage=usage,
        )


def _text(content: Any) -> str:
    """Return the text; some servers send it in parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _usage(usage: Any, model: str) -> Usage:
    counts = usage if isinstance(usage, dict) else {}
    return Usage(
        model=model,
        calls=1,
        input_tokens=_count(counts.get("prompt_tokens")),
        output_tokens=_count(counts.get("completion_tokens")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
