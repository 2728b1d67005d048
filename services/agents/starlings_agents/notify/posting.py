"""Posting a message to a webhook whose address is a secret of the operator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import JsonValue

from starlings import StepFailed, TransientError
from starlings.messages import StarlingsError
from starlings_agents.net.fetching import Asked, Limits, fetch, retry_after
from starlings_agents.net.secret_values import SHORTEST, Redactor

ANSWER_BYTES = 1_000_000

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


async def post(
    url: str, payload: JsonValue, *, name: str, headers: Mapping[str, str], timeout_s: float
) -> None:
    """Post JSON; a redirect is no success.

    Raises:
        StepFailed: `message_refused`, and what is wrong with the address.
        TransientError: `message_not_taken`, `unreachable`, `fetch_timeout`.
    """
    redactor = _redactor(name, url)
    failure: StarlingsError
    try:
        await _post(url, payload, name=name, headers=headers, timeout_s=timeout_s)
    except Exception as error:
        failure = redactor.error(error)
    else:
        return
    raise failure  # out here, so that no error behind it can quote the address


async def _post(
    url: str, payload: JsonValue, *, name: str, headers: Mapping[str, str], timeout_s: float
) -> None:
    body = json.dumps(payload, ensure_ascii=False).encode()
    headers = {"content-type": "application/json; charset=utf-8", **headers}
    asked = Asked(url, "POST", headers, body, shown=f"the webhook {name}")
    answer = await fetch(asked, policy=None, limits=Limits(ANSWER_BYTES, timeout_s))
    if answer.status // 100 == 2:  # noqa: PLR2004 - HTTP's good ones
        return
    answered = " ".join(answer.body.decode(errors="replace").split())
    said = f"the webhook {name} answered HTTP {answer.status}: {answered}"
    if answer.status in _RETRIED:
        wait = retry_after(answer.headers)
        raise TransientError(said, code="message_not_taken", retry_after_s=wait)
    raise StepFailed(said, code="message_refused")


def _redactor(name: str, url: str) -> Redactor:
    """Hide the address, and each part of its path and query that could be a token."""
    redactor = Redactor()
    redactor.add(name, url)
    parts = urlsplit(url)
    for part in (parts.path, parts.query, *parts.path.split("/"), *parts.query.split("=")):
        if len(part) >= SHORTEST:
            redactor.add(name, part)
    return redactor
