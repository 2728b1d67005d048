"""Why can Kafka not be reached? The client library only says that it cannot.

Each address is looked at in the order in which a connection is made: name, port, encryption, login,
and where the brokers send their clients on to. The first thing that is wrong is reported. A setting
is blamed only on evidence (the other protocol was tried and works, the server said so): what may
pass by waiting, such as a broker that is starting, blames none.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
)

from . import probe
from .oauth import ClientCredentials, NoToken
from .probe import Address
from .settings import KafkaSettings

_ABOUT_OUR_CERTIFICATE = ("CERT", "UNKNOWN_CA", "HANDSHAKE_FAILURE")  # RFC 8446, section 6.2
_FAILED = (KafkaError, OSError, TimeoutError, EOFError, ValueError)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong; with a setting, waiting will not help."""

    message: str
    setting: str | None = None


async def diagnose(
    settings: KafkaSettings, security: dict[str, Any], error: BaseException
) -> Finding:
    """Find out why no bootstrap server could be used.

    `security` are the client library's options; `error` is what the library said.
    """
    texts = settings.bootstrap.split(",")
    found = await asyncio.gather(*(_look_at(text, settings, security) for text in texts))
    findings = [finding for finding in found if finding is not None]
    findings.sort(key=lambda finding: finding.setting is None)
    if findings:
        return findings[0]
    return Finding(f"Kafka answers, but is not usable yet: {error!r}")


async def _look_at(text: str, settings: KafkaSettings, security: dict[str, Any]) -> Finding | None:
    address = probe.address_of(text)
    if address is None:  # settings with such an address have been refused
        return None
    return (
        await _look_for_somebody(address)
        or await _look_at_encryption(address, settings, security.get("ssl_context"))
        or await _look_at_login(address, settings, security)
        or await _look_at_brokers(address, security)
    )


async def _look_for_somebody(address: Address) -> Finding | None:
    try:
        await probe.resolve(address)
    except (OSError, TimeoutError):
        return Finding(f"the host name {address.host!r} cannot be resolved")
    try:
        await probe.knock(address)
    except (OSError, TimeoutError):
        return Finding(f"nothing answers on {address}")
    return None


# -- encryption ----------------------------------------------------------------------------------


async def _look_at_encryption(
    address: Address, settings: KafkaSettings, context: ssl.SSLContext | None
) -> Finding | None:
    try:
        if await probe.answers(address, context):
            return None
        said = "it closed the connection"
    except ssl.SSLCertVerificationError as error:
        return _certificate(address, error)
    except (OSError, TimeoutError) as error:
        if finding := _client_certificate(address, settings, error):
            return finding
        said = repr(error)
    if context is None and await probe.speaks_tls(address):
        return Finding(
            f"it is {settings.security_protocol}, but {address} speaks TLS; "
            "set it to SASL_SSL (with KAFKA_SASL_… settings) or SSL",
            "KAFKA_SECURITY_PROTOCOL",
        )
    if context is not None and await _speaks_plain(address):
        plain = "SASL_PLAINTEXT" if settings.uses_sasl else "PLAINTEXT"
        return Finding(
            f"it is {settings.security_protocol}, but {address} does not speak TLS; "
            f"set it to {plain}, or use the server's TLS port",
            "KAFKA_SECURITY_PROTOCOL",
        )
    return Finding(f"{address} does not answer as Kafka does ({said})")


async def _speaks_plain(address: Address) -> bool:
    try:
        return await probe.answers(address, None)
    except (OSError, TimeoutError):
        return False


def _certificate(address: Address, error: ssl.SSLCertVerificationError) -> Finding:
    said = error.verify_message
    if "mismatch" in said or "not valid for" in said:
        return Finding(
            f"the certificate of {address} is for another name: {said}; "
            "use a name that it has, or set KAFKA_SSL_CHECK_HOSTNAME=false",
            "KAFKA_BOOTSTRAP",
        )
    if "expired" in said or "not yet valid" in said:
        return Finding(f"the certificate of {address} is refused: {said}", "KAFKA_BOOTSTRAP")
    return Finding(
        f"the certificate of {address} is not trusted: {said}; name the authority's PEM file",
        "KAFKA_SSL_CAFILE",
    )


def _client_certificate(
    address: Address, settings: KafkaSettings, error: BaseException
) -> Finding | None:
    reason = str(getattr(error, "reason", "") or "").upper()
    if "ALERT" not in reason or not any(word in reason for word in _ABOUT_OUR_CERTIFICATE):
        return None
    if settings.ssl_certfile is None:
        said = "wants a certificate of the client (mutual TLS); name its PEM file"
    else:
        said = f"refuses the certificate {settings.ssl_certfile} ({reason.lower()})"
    return Finding(f"{address} {said}", "KAFKA_SSL_CERTFILE")


# -- login ---------------------------------------------------------------------------------------


async def _look_at_login(
    address: Address, settings: KafkaSettings, security: dict[str, Any]
) -> Finding | None:
    try:
        offered = await probe.login_methods(address, security)
    except _FAILED as error:
        return Finding(f"{address} broke off the talk about a login: {error!r}")
    finding = _login_wanted(address, settings, offered)
    if finding is not None or not settings.uses_sasl:
        return finding
    if settings.sasl_mechanism == "OAUTHBEARER":
        return await _look_at_token(address, settings, security)
    return await _look_at_user(address, settings, security)


def _login_wanted(
    address: Address, settings: KafkaSettings, offered: list[str] | None
) -> Finding | None:
    """Compare the login that the settings mean with those that are taken (None: none is)."""
    encrypted = "SSL" if settings.uses_tls else "PLAINTEXT"
    methods = ", ".join(sorted(offered or ())) or "none"
    if offered is None and settings.uses_sasl:
        return Finding(
            f"it is {settings.security_protocol}, but {address} takes no login; "
            f"set it to {encrypted} and unset KAFKA_SASL_…",
            "KAFKA_SECURITY_PROTOCOL",
        )
    if offered is not None and not settings.uses_sasl:
        return Finding(
            f"it is {settings.security_protocol}, but {address} wants a login ({methods}); "
            f"set it to SASL_{encrypted}, with KAFKA_SASL_… settings",
            "KAFKA_SECURITY_PROTOCOL",
        )
    if offered is not None and settings.sasl_mechanism not in offered:
        return Finding(
            f"{address} does not take {settings.sasl_mechanism}; it takes {methods}",
            "KAFKA_SASL_MECHANISM",
        )
    return None


async def _look_at_token(
    address: Address, settings: KafkaSettings, security: dict[str, Any]
) -> Finding | None:
    provider: ClientCredentials = security["sasl_oauth_token_provider"]
    try:
        said = await probe.refusal_of_token(address, security, await provider.token())
    except NoToken as error:
        return Finding(str(error.args[0]), error.setting)
    except _FAILED as error:
        return Finding(f"{address} broke off the login: {error!r}")
    if said is None:
        return None
    message = f"{address} refuses the token of client {settings.sasl_client_id!r}: {said}"
    return Finding(f"{message}; check the client's rights and scope", "KAFKA_SASL_CLIENT_ID")


async def _look_at_user(
    address: Address, settings: KafkaSettings, security: dict[str, Any]
) -> Finding | None:
    try:
        async with probe.connected(address, security):
            return None
    except (AuthenticationFailedError, SaslAuthenticationFailed):
        pass
    except _FAILED as error:
        return Finding(f"{address} broke off the login: {error!r}")
    return Finding(
        f"{address} refuses the user {settings.sasl_username!r} with this password "
        f"({settings.sasl_mechanism}); check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD "
        "and KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_PASSWORD",
    )


# -- where clients are sent on to ----------------------------------------------------------------


async def _look_at_brokers(address: Address, security: dict[str, Any]) -> Finding | None:
    try:
        brokers = await probe.brokers(address, security)
    except _FAILED as error:
        return Finding(f"{address} does not say where its brokers are: {error!r}")
    found = await asyncio.gather(*(_look_for_somebody(broker) for broker in brokers))
    for broker, finding in zip(brokers, found, strict=True):
        if finding is not None:
            return Finding(
                f"{address} answers, but sends its clients on to {broker}: {finding.message}; "
                "correct advertised.listeners of that broker, or make the name known here"
            )
    return None
