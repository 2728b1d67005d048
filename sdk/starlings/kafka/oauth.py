"""OAUTHBEARER tokens by the client credentials grant.

Source: RFC 6749, section 4.4; RFC 7628 for what Kafka does with the token. The endpoint is asked
with the standard library, in a thread: a token lives for minutes, and this keeps an HTTP client out
of services that need none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.parse
import urllib.request
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from starlings.messages import ConfigError, TransientError

from .settings import KafkaSettings

TIMEOUT_S = 10.0
EARLY_S = 30.0  # a token is renewed this long before it expires


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Gets tokens from `KAFKA_SASL_TOKEN_URL`, and keeps one until shortly before its end."""

    def __init__(self, settings: KafkaSettings) -> None:
        url = settings.sasl_token_url or ""
        if not url.startswith(("https://", "http://")):
            raise ConfigError(f"KAFKA_SASL_TOKEN_URL={url!r} is no http(s) address")
        self._url = url
        self._settings = settings
        self._token = ""
        self._until = float("-inf")
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Give a token that is valid now."""
        async with self._lock:
            if time.monotonic() >= self._until:
                answer = await asyncio.to_thread(self._ask)
                self._token = str(answer["access_token"])
                self._until = time.monotonic() + float(answer.get("expires_in", 300)) - EARLY_S
            return self._token

    def _ask(self) -> dict[str, Any]:
        secret = self._settings.sasl_client_secret
        user = f"{self._settings.sasl_client_id}:{secret.get_secret_value() if secret else ''}"
        form = {"grant_type": "client_credentials"}
        if self._settings.sasl_scope:
            form["scope"] = self._settings.sasl_scope
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
            self._url,
            data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(user.encode()).decode()},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                answer = json.loads(response.read())
        except (OSError, ValueError) as error:
            raise TransientError(f"KAFKA_SASL_TOKEN_URL gives no token: {error}") from error
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise TransientError("KAFKA_SASL_TOKEN_URL answers without an access_token")
        return answer
