"""Why can Kafka not be reached? The client library only says that it cannot.

Each address is looked at in the order in which a connection is made: name, port, encryption, user.
The first thing that is wrong is reported; where a setting must be mended, it is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from .settings import KafkaSettings

PROBE_S = 5.0
_REFUSED_USER = (AuthenticationFailedError, SaslAuthenticationFailed)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong; with a setting, waiting will not help."""

    message: str
    setting: str | None = None


async def diagnose(
    settings: KafkaSettings, context: ssl.SSLContext | None, error: BaseException
) -> Finding:
    """Find out why no bootstrap server could be used; `error` is what the library said."""
    findings = [
        await _look_at(address.strip(), settings, context)
        for address in settings.bootstrap.split(",")
    ]
    for finding in findings:
        if finding is not None and finding.setting is not None:
            return finding
    for finding in findings:
        if finding is not None:
            return finding
    return Finding(f"Kafka answers, but is not usable yet: {error!r}")


async def _look_at(
    address: str, settings: KafkaSettings, context: ssl.SSLContext | None
) -> Finding | None:
    host, _, port_text = address.rpartition(":")
    if not host or not port_text.isdigit():
        return Finding(f"{address!r} is no host:port", "KAFKA_BOOTSTRAP")
    host, port = host.strip("[]"), int(port_text)
    try:
        async with asyncio.timeout(PROBE_S):
            await asyncio.get_running_loop().getaddrinfo(host, port)
    except (socket.gaierror, TimeoutError):
        return Finding(f"the host name {host!r} cannot be resolved")
    try:
        await _open(host, port, None)
    except (OSError, TimeoutError):
        return Finding(f"nothing answers on {address}")
    if context is not None:
        finding = await _look_at_tls(address, host, port, context, settings)
    else:
        finding = await _look_for_tls(address, host, port, settings)
    return finding or await _look_at_user(address, host, port, settings, context)


async def _open(host: str, port: int, context: ssl.SSLContext | None) -> None:
    async with asyncio.timeout(PROBE_S):
        _, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=host if context else None
        )
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()


async def _look_at_tls(
    address: str, host: str, port: int, context: ssl.SSLContext, settings: KafkaSettings
) -> Finding | None:
    try:
        await _open(host, port, context)
    except ssl.SSLCertVerificationError as error:
        if "mismatch" in error.verify_message or "not valid for" in error.verify_message:
            return Finding(
                f"the certificate of {address} is for another name: {error.verify_message}; "
                "use a name that it has, or set KAFKA_SSL_CHECK_HOSTNAME=false",
                "KAFKA_BOOTSTRAP",
            )
        return Finding(
            f"the certificate of {address} is not trusted: {error.verify_message}; "
            "name the authority's PEM file",
            "KAFKA_SSL_CAFILE",
        )
    except (ssl.SSLError, ConnectionError, TimeoutError):
        plain = "SASL_PLAINTEXT" if settings.uses_sasl else "PLAINTEXT"
        return Finding(
            f"it is {settings.security_protocol}, but {address} does not speak TLS; "
            f"set it to {plain}, or use the server's TLS port",
            "KAFKA_SECURITY_PROTOCOL",
        )
    except OSError as error:
        return Finding(f"{address} cannot be reached: {error}")
    return None


async def _look_for_tls(
    address: str, host: str, port: int, settings: KafkaSettings
) -> Finding | None:
    """Notice a server that speaks TLS where we were told that it does not."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: it is only asked whether it answers
    try:
        await _open(host, port, context)
    except (OSError, ssl.SSLError, TimeoutError):
        return None
    return Finding(
        f"it is {settings.security_protocol}, but {address} speaks TLS; "
        "set it to SASL_SSL (with KAFKA_SASL_… settings) or SSL",
        "KAFKA_SECURITY_PROTOCOL",
    )


async def _look_at_user(
    address: str, host: str, port: int, settings: KafkaSettings, context: ssl.SSLContext | None
) -> Finding | None:
    if not settings.uses_sasl or settings.sasl_mechanism == "OAUTHBEARER":
        return None
    password = settings.sasl_password
    options: dict[str, Any] = {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }
    try:
        async with asyncio.timeout(PROBE_S):
            connection = await create_conn(
                host,
                port,
                ssl_context=context,
                security_protocol=settings.security_protocol,
                **options,
            )
        connection.close()
    except _REFUSED_USER:
        return Finding(
            f"{address} refuses the user {settings.sasl_username!r} with this password "
            f"({settings.sasl_mechanism}); check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD "
            "and KAFKA_SASL_MECHANISM",
            "KAFKA_SASL_PASSWORD",
        )
    except (UnsupportedSaslMechanismError, IllegalSaslStateError) as error:
        return Finding(
            f"{address} does not take {settings.sasl_mechanism}: {error}", "KAFKA_SASL_MECHANISM"
        )
    except (KafkaError, OSError, TimeoutError, ValueError) as error:
        return Finding(f"{address} broke off the login: {error!r}")
    return None
