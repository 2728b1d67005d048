"""Keep secrets out of whatever is said: what a server answered, an address, a header.

A server may quote the key that it refused, the address that it was asked under, or the headers of
the request. The secrets that are known are taken out wherever they stand, as they are and in the
forms in which they travel; what merely looks like one is taken out of errors, too.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pydantic import JsonValue

HIDDEN = "***"
_SHORTEST = 8  # shorter ones would take everyday words out
_IN_HEADER = re.compile(
    r"(?i)\b((?:authorization|(?:x-)?api-key)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?|bearer\s+)"
    r"[^\s\"',}]{8,}"
)
_LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk|pk|gsk|xai|AIza|key)[-_][A-Za-z0-9_-]{16,}")
_NAMES_A_SECRET = re.compile(
    r"(?i)(?:^|[_-])(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key"
    r"|authorization|cookie|credentials?)$"
)
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@\"']+@")


def secrets_of(key: str, base_url: str) -> tuple[str, ...]:
    """List what must not be said of an endpoint, longest first."""
    found = {key, *_of_address(base_url)}
    forms = {form for secret in found if len(secret) >= _SHORTEST for form in _forms(secret)}
    return tuple(sorted(forms, key=len, reverse=True))


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """Take known secrets out of a text."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def safe_to_say(text: str, secrets: tuple[str, ...]) -> str:
    """Take known secrets out of an error's text, and what looks like one."""
    text = redacted(text, secrets)
    text = _IN_ADDRESS.sub(f"{HIDDEN}@", text)
    text = _IN_HEADER.sub(rf"\1{HIDDEN}", text)
    return _LOOKS_LIKE_A_KEY.sub(HIDDEN, text)


def _of_address(base_url: str) -> Iterator[str]:
    parts = urlsplit(base_url)
    userinfo = parts.netloc.rpartition("@")[0]
    if userinfo:
        user, _, password = userinfo.partition(":")
        yield userinfo
        yield password
        pair = f"{unquote(user)}:{unquote(password)}"
        yield base64.b64encode(pair.encode()).decode()
        if not password:  # a token in the user's place
            yield user
    for name, value in parse_qsl(parts.query):
        if name != "api-version":
            yield value


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield unquote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]


def without_secrets(value: JsonValue) -> JsonValue:
    """Take out of a value what looks like a secret, by its look or by the name it goes by."""
    if isinstance(value, dict):
        return {name: _of_name(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return safe_to_say(value, ()) if isinstance(value, str) else value


def _of_name(name: str, value: JsonValue) -> JsonValue:
    named = isinstance(value, str) and value and _NAMES_A_SECRET.search(name)
    return HIDDEN if named else without_secrets(value)
