"""Tokens of Google: given, of a service account's key, or of the machine that this runs on.

`STARLINGS_SQL_<NAME>_TOKEN`, else the key in the file `STARLINGS_SQL_<NAME>_KEY_FILE` (RFC 7523),
else the metadata server of Google's machines.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx

from starlings import TransientError
from starlings.messages import ConfigError
from starlings_agents.named_values import named_values

from .settings import PREFIX, Connection

SCOPE = "https://www.googleapis.com/auth/bigquery"
MACHINE = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SPARE_S = 300.0
_known: dict[str, tuple[float, str]] = {}


async def google_token(connection: Connection) -> str:
    """Give a token that is good for some minutes.

    Raises:
        ConfigError: the key cannot be used.
        TransientError: `connection_failed`, nobody gives one.
    """
    if connection.token:
        return connection.token
    until, token = _known.get(connection.name, (0.0, ""))
    if time.monotonic() < until:
        return token
    file = named_values(PREFIX, "_KEY_FILE").get(connection.name)
    told = await (_by_key(connection, Path(file)) if file else _of_machine(connection))
    token = str(told["access_token"])
    _known[connection.name] = (time.monotonic() + float(told["expires_in"]) - _SPARE_S, token)
    return token


async def _by_key(connection: Connection, file: Path) -> dict[str, Any]:
    try:
        key = json.loads(await asyncio.to_thread(file.read_text))
        uri, signed = str(key["token_uri"]), assertion(key)
    except ImportError:
        raise ConfigError(
            "keys of service accounts need the package cryptography: install "
            "starlings-agents[bigquery]"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        uri = ""
    if not uri:
        raise ConfigError(
            f"{PREFIX}{connection.name.upper()}_KEY_FILE is wrong: it takes the file of a service "
            "account's key, as Google gives it"
        )
    return await _ask(connection, "POST", uri, data={"grant_type": _GRANT, "assertion": signed})


async def _of_machine(connection: Connection) -> dict[str, Any]:
    return await _ask(connection, "GET", MACHINE, headers={"metadata-flavor": "Google"})


async def _ask(connection: Connection, method: str, url: str, **more: Any) -> dict[str, Any]:
    try:
        async with httpx.AsyncClient(timeout=10.0) as client:
            answer = await client.request(method, url, **more)
        told: dict[str, Any] = answer.raise_for_status().json()
        if {"access_token", "expires_in"} <= told.keys():
            return told
        said = "there is no token in the answer"
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}"
    raise TransientError(
        f"no token for {connection.name} ({said}): set {PREFIX}{connection.name.upper()}_KEY_FILE "
        "or …_TOKEN",
        code="connection_failed",
    )


def assertion(key: dict[str, Any]) -> str:
    """Sign who we are with a service account's key: a JWT (RFC 7519) with RS256."""
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    private: Any = serialization.load_pem_private_key(key["private_key"].encode(), password=None)
    now = int(time.time())
    claims = {"iss": key["client_email"], "scope": SCOPE, "aud": key["token_uri"]}
    parts = [{"alg": "RS256", "typ": "JWT"}, {**claims, "iat": now, "exp": now + 3_600}]
    text = ".".join(_url64(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_url64(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _url64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
