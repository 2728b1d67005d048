"""Waiting until an HTTP address answers as wanted. What it says else means: not yet.

A plan chooses the address, so only what the guard opens is asked; an address that may not be
opened fails the step, since waiting would change nothing.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from starlings import Ready, Waiting
from starlings.messages import StarlingsError

from .net.addresses import load_policy
from .net.fetching import Asked, Limits, fetch
from .sensor_conditions import MISSING, Looked, Pointer, at, same

BODY_LIMIT_BYTES = 2 * 1024 * 1024
TIMEOUT_S = 10.0

# a name that nobody knows yet, an answer that is broken now
_MAY_COME = frozenset({"unknown_host", "too_many_redirects", "encoding_broken"})


class HttpAnswers(Looked):
    """An address answers with a status and, where asked for, with a value in its JSON."""

    wait_for: Literal["http"]
    url: str = Field(pattern=r"^https?://[^\s/]+")
    method: Literal["GET", "HEAD"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    status: int = Field(default=200, ge=100, le=599)
    pointer: Pointer | None = Field(
        default=None, description="JSON Pointer of a value that has to be there"
    )
    equals: JsonValue = Field(default=None, description="what the value at `pointer` has to be")
    contains: str | None = Field(default=None, description="text that the body has to contain")

    @model_validator(mode="after")
    def _check(self) -> HttpAnswers:
        if "equals" in self.model_fields_set and self.pointer is None:
            raise ValueError('`equals` needs a `pointer`, such as "/status" or "" for the whole')
        return self


async def poke_http(condition: HttpAnswers) -> Ready | Waiting:
    """Ask once."""
    asked = Asked(condition.url, condition.method, condition.headers)
    limits = Limits(BODY_LIMIT_BYTES, TIMEOUT_S, cuts=True)
    try:
        answer = await fetch(asked, policy=load_policy(), limits=limits)
    except StarlingsError as error:
        if error.retryable or error.code in _MAY_COME:
            return _not_yet(condition, f"no answer: {error}")
        raise
    status, body = answer.status, answer.body
    if status != condition.status:
        return _not_yet(condition, f"HTTP {status}")
    text = body.decode(errors="replace")
    if condition.contains is not None and condition.contains not in text:
        return _not_yet(condition, "the text is not in it")
    return _judge(condition, status, text)


def _judge(condition: HttpAnswers, status: int, text: str) -> Ready | Waiting:
    """Look at the value that has to be there."""
    if condition.pointer is None:
        return Ready({"status": status, "value": _read(text, text)})
    value = at(_read(text, None), condition.pointer)
    if value is MISSING:
        return _not_yet(condition, f"nothing at {condition.pointer!r}")
    if "equals" in condition.model_fields_set and not same(value, condition.equals):
        return _not_yet(condition, f"{condition.pointer!r} is {value!r:.80}")
    return Ready({"status": status, "value": value})


def _read(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def _not_yet(condition: HttpAnswers, why: str) -> Waiting:
    return Waiting(progress=why, retry_after_s=condition.every_s)
