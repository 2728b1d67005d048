"""From what a plan says to a request: addresses, headers and bodies, with secrets filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

import httpx
from pydantic import JsonValue

from starlings import StepFailed
from starlings_agents.net.fetching import REPEATABLE, Asked, origin_of, read_url, without_query
from starlings_agents.net.secret_values import Secrets

Scalar = str | int | float | bool
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

KEY_HEADER = "idempotency-key"
_NAME_IN_PATH = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "upgrade"}
)


@dataclass(frozen=True)
class Call:
    """A call of an API, as a plan or a model writes it."""

    url: str
    method: Method
    path: Mapping[str, Scalar]
    query: Mapping[str, Scalar | Sequence[Scalar]]
    headers: Mapping[str, str]
    body: JsonValue
    form: Mapping[str, Scalar] | None
    secrets_in_body: bool

    @property
    def shown(self) -> str:
        """The address as the plan wrote it, for people: with no value of a secret."""
        return without_query(self.url)

    def check(self) -> None:
        """Look for what does not go together.

        Raises:
            StepFailed: `request_invalid`.
        """
        if self.body is not None and self.form is not None:
            raise _invalid("give `body` or `form`, not both")
        if self.method in REPEATABLE and (self.body is not None or self.form is not None):
            raise _invalid(f"{self.method} has no body; use POST, PUT, PATCH or DELETE")
        ours = sorted(_OURS & {name.lower() for name in self.headers})
        if ours:
            raise _invalid(f"the header {ours[0]} is set by this agent; leave it out")

    def asked(self, secrets: Secrets, key: str) -> Asked:
        """Build the request.

        Args:
            secrets: filled in, and held to the origins that they may go to.
            key: tells a repeat of this call from another call.

        Raises:
            StepFailed: `request_invalid`, `url_invalid`, `secret_…`.
        """
        self.check()
        url = self._address(secrets)
        headers = {name.lower(): secrets.fill(value) for name, value in self.headers.items()}
        body, media_type = self._content(secrets)
        if body is not None:
            headers.setdefault("content-type", media_type)
        if self.method not in REPEATABLE:
            headers.setdefault(KEY_HEADER, key)
        secrets.check_origin(origin_of(url))
        return Asked(str(url), self.method, headers, body, shown=self.shown)

    def _address(self, secrets: Secrets) -> httpx.URL:
        # values of `path` come last: percent-encoded, so nothing in them counts as a placeholder
        text = secrets.fill(self.url)
        url = read_url(_NAME_IN_PATH.sub(lambda found: self._in_path(found[1]), text), self.shown)
        pairs: list[tuple[str, str | int | float | bool | None]] = [
            (name, secrets.fill(_written(one)))
            for name, value in self.query.items()
            for one in ([value] if isinstance(value, Scalar) else value)
        ]
        return url.copy_merge_params(pairs) if pairs else url

    def _in_path(self, name: str) -> str:
        if name not in self.path:
            raise _invalid(f"the address has {{{name}}}, and `path` has no {name!r}")
        text = _written(self.path[name])
        if text.strip(". ") == "":  # would climb up in the path, or end it
            raise _invalid(f"path.{name} is {text!r}, which cannot be part of an address")
        return quote(text, safe="")

    def _content(self, secrets: Secrets) -> tuple[bytes | None, str]:
        fill = secrets.fill if self.secrets_in_body else str
        if self.form is not None:
            pairs = {name: fill(_written(value)) for name, value in self.form.items()}
            return urlencode(pairs).encode(), "application/x-www-form-urlencoded"
        if self.body is None:
            return None, ""
        if isinstance(self.body, str):
            return fill(self.body).encode(), "text/plain; charset=utf-8"
        return json.dumps(_filled(self.body, fill), ensure_ascii=False).encode(), "application/json"


def _filled(value: JsonValue, fill: Callable[[str], str]) -> JsonValue:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {name: _filled(inner, fill) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, fill) for inner in value]
    return value


def _written(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _invalid(why: str) -> StepFailed:
    return StepFailed(why, code="request_invalid")
