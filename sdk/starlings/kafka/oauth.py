"""OAUTHBEARER tokens by the client credentials grant.

Source: RFC 6749, section 4.4; RFC 7628 for what Kafka does with the token. The endpoint is asked
with the standard library, in a thread: a token lives for minutes, and this keeps an HTTP client out
of services that need none.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from starlings.messages import ConfigError

from .settings import KafkaSettings

TIMEOUT_S = 10.0
EARLY_S = 30.0  # a token is renewed this long before it expires
_LIFETIME_S = 300.0  # where the endpoint does not say
_REFUSED = (400, 401, 403)


class NoToken(KafkaError):  # type: ignore[misc]  # noqa: N818 - a statement; untyped base
    """There is no token; with a setting, waiting will not help.

    One of the client library's own errors, since others end its background tasks for good.
    """

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


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
        self._context = ssl.create_default_context(cafile=settings.ssl_cafile)
        self._context.load_default_certs()  # Kafka may have an authority of its own, the IdP not

    async def token(self) -> str:
        """Give a token that is valid now.

        Raises:
            NoToken: saying why there is none.
        """
        async with self._lock:
            if time.monotonic() >= self._until:
                answer = await asyncio.to_thread(self._ask)
                self._token = str(answer["access_token"])
                lifetime_s = float(answer.get("expires_in") or _LIFETIME_S)
                self._until = time.monotonic() + lifetime_s - EARLY_S
            return self._token

    def _ask(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(  # noqa: S310 - the scheme was checked at the start
                self._request(), timeout=TIMEOUT_S, context=self._context
            ) as response:
                answer = json.loads(response.read())
        except urllib.error.HTTPError as error:
            error.close()
            said = f"{self._url} refuses the client {self._settings.sasl_client_id!r}: HTTP "
            setting = "KAFKA_SASL_CLIENT_SECRET" if error.code in _REFUSED else None
            raise NoToken(f"{said}{error.code}", setting=setting) from None
        except (OSError, ValueError) as error:
            raise NoToken(f"KAFKA_SASL_TOKEN_URL={self._url} gives no token: {error}") from error
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise NoToken(f"KAFKA_SASL_TOKEN_URL={self._url} answers without an access_token")
        return answer

    def _request(self) -> urllib.request.Request:
        secret = self._settings.sasl_client_secret
        both = (self._settings.sasl_client_id or "", secret.get_secret_value() if secret else "")
        user = ":".join(urllib.parse.quote_plus(part) for part in both)  # RFC 6749, section 2.3.1
        form = {"grant_type": "client_credentials"}
        if self._settings.sasl_scope:
            form["scope"] = self._settings.sasl_scope
        return urllib.request.Request(  # noqa: S310 - the scheme was checked at the start
            self._url,
            data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(user.encode()).decode()},
        )
