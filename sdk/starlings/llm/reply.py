"""Read the body of a chat completion, trusting nothing in it.

Read by hand instead of through the client library's models: those take any JSON without looking,
and fail later and elsewhere when a server left something out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import JsonValue

from starlings.messages.base import Model
from starlings.messages.errors import StarlingsError
from starlings.messages.usage import Usage

from . import errors
from .endpoint import Endpoint
from .errors import ModelAway, ModelFailed
from .parsing import too_deep
from .well_formed import well_formed_json

_SAID_LIMIT = 200
_COUNT_LIMIT = 10**12


class WantedCall(Model):
    """A tool call as a server sent it: nothing about it has been checked."""

    id: str = ""
    name: str = ""
    arguments: JsonValue = None


class Reply(Model):
    """What came back: the text, the calls, who wrote it, what it cost."""

    text: str = ""
    calls: tuple[WantedCall, ...] = ()
    model: str = ""
    usage: Usage = Usage()
    counted: bool = True
    cached_tokens: int = 0
    finish: Literal["stop", "length", "refused"] = "stop"
    refusal: str = ""

    def checked(self) -> Reply:
        """Return itself, where the model neither refused nor was cut off.

        Raises:
            ModelFailed: it was.
        """
        if self.finish == "length":
            raise ModelFailed(
                f"the model was cut off after {self.usage.output_tokens} tokens "
                "(finish_reason=length)",
                code=errors.OUTPUT_TRUNCATED,
                remedy="raise STARLINGS_MAX_TOKENS, or ask for less at once",
                usage=self.usage,
            )
        if self.finish == "refused":
            raise ModelFailed(
                f"the model refused: {self.refusal}",
                code=errors.REFUSED,
                remedy="put the request in other words, or choose another STARLINGS_MODEL",
                usage=self.usage,
            )
        return self


def read_reply(content: bytes, endpoint: Endpoint) -> Reply:
    """Read the answer's text, its calls and what it cost.

    Raises:
        ModelFailed: the body is no chat completion.
        ModelAway: the body says, in spite of HTTP 200, that the provider has troubles.
    """
    text = endpoint.redacted(content.decode("utf-8", errors="replace"))
    body = _json_object(text)
    if isinstance(body.get("error"), dict) and not body.get("choices"):
        raise error_within(body["error"], endpoint)
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise no_completion(text, endpoint)
    model = str(body.get("model") or endpoint.model)
    finish, refusal = _end(choice.get("finish_reason"), message)
    return Reply(
        text=_text(message.get("content")),
        calls=tuple(_calls(message)),
        model=model,
        usage=_usage(body.get("usage"), model),
        counted=_is_counted(body.get("usage")),
        cached_tokens=_cached(body.get("usage")),
        finish=finish,
        refusal=refusal,
    )


def no_completion(text: str, endpoint: Endpoint) -> ModelFailed:
    """Say that a body is no chat completion."""
    begins = " ".join(endpoint.redacted(text)[:_SAID_LIMIT].split())
    return ModelFailed(
        f"{endpoint.host} answered with something that is no chat completion: {begins!r}",
        code=errors.BAD_RESPONSE,
        remedy=f"check OPENAI_BASE_URL ({endpoint.host}); it often has to end in /v1",
    )


def error_within(error: dict[str, Any], endpoint: Endpoint) -> StarlingsError:
    """Put an error that came as a good answer into our words."""
    said = " ".join(str(error.get("message") or error).split())
    text = f"{endpoint.host} answered with an error: {endpoint.redacted(said)[:_SAID_LIMIT]}"
    code = error.get("code")
    if code == 429:  # noqa: PLR2004 - HTTP: too many requests
        return ModelAway(text, code=errors.RATE_LIMITED, cooldown=True)
    if isinstance(code, int) and code >= 500:  # noqa: PLR2004 - HTTP: server errors
        return ModelAway(text, code=errors.UNAVAILABLE, cooldown=True)
    return ModelFailed(text, code=errors.BAD_RESPONSE, remedy="ask the model's provider")


def _json_object(text: str) -> dict[str, Any]:
    try:
        body = well_formed_json(json.loads(text), text)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _end(
    finish_reason: Any, message: dict[str, Any]
) -> tuple[Literal["stop", "length", "refused"], str]:
    if finish_reason == "length":
        return "length", ""
    refusal = message.get("refusal")
    if refusal or finish_reason == "content_filter":
        why = str(refusal or "stopped by the provider's content filter")[:_SAID_LIMIT]
        return "refused", why
    return "stop", ""


def _text(content: Any) -> str:
    """Return the text; some servers send it in parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _calls(message: dict[str, Any]) -> Iterator[WantedCall]:
    """Read declared calls; `function_call` is what older servers send in their place."""
    listed = message.get("tool_calls")
    for call in listed if isinstance(listed, list) else []:
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            yield _call(call["function"], str(call.get("id") or ""))
        else:
            yield WantedCall(name="", arguments=None)
    if not listed and isinstance(message.get("function_call"), dict):
        yield _call(message["function_call"], "")


def _call(function: dict[str, Any], call_id: str) -> WantedCall:
    given = function.get("arguments")
    arguments = "nested too deeply" if too_deep(given) else given  # which is told as a problem
    return WantedCall(id=call_id, name=str(function.get("name") or ""), arguments=arguments)


def _usage(usage: Any, model: str) -> Usage:
    counts = usage if isinstance(usage, dict) else {}
    return Usage(
        model=model,
        calls=1,
        input_tokens=_count(counts.get("prompt_tokens")),
        output_tokens=_count(counts.get("completion_tokens")),
    )


def _is_counted(usage: Any) -> bool:
    return isinstance(usage, dict) and isinstance(usage.get("prompt_tokens"), int)


def _cached(usage: Any) -> int:
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return _count(details.get("cached_tokens")) if isinstance(details, dict) else 0


def _count(value: Any) -> int:
    return min(value, _COUNT_LIMIT) if isinstance(value, int) and value > 0 else 0
