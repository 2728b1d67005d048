"""Single questions to one address, each bounded in time, each leaving nothing behind.

Kafka's protocol lets anybody ask for the versions of its calls (ApiVersions) and, on a listener
with SASL, for the login methods (SaslHandshake) before a login.
Source: Kafka protocol guide, sections "Retrieving supported API versions", "SASL authentication".
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

PROBE_S = 5.0
_CLOSE_S = 1.0
_CORRELATION = 7_171
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, _CORRELATION, -1)
_NOT_A_SASL_LISTENER = 34


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it as `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(text: str) -> Address | None:
    """Read `host:port`, `[v6]:port`; None for anything else."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return None
    return Address(host.strip("[]"), int(port))


async def resolve(address: Address) -> None:
    """Look its name up; raise `OSError` where there is no such name."""
    async with asyncio.timeout(PROBE_S):
        await asyncio.get_running_loop().getaddrinfo(address.host, address.port)


async def knock(address: Address) -> None:
    """Connect and go; raise `OSError` where nobody listens."""
    async with _streams(address, None):
        return


async def answers(address: Address, context: ssl.SSLContext | None) -> bool:
    """Tell whether a Kafka answers, over TLS where a context is given.

    Raises:
        OSError: (so `ssl.SSLError`) what came between.
    """
    async with _streams(address, context) as (reader, writer):
        writer.write(_API_VERSIONS)
        try:
            async with asyncio.timeout(PROBE_S):
                head = await reader.readexactly(8)
        except asyncio.IncompleteReadError:
            return False
    return bool(struct.unpack(">ii", head)[1] == _CORRELATION)


async def speaks_tls(address: Address) -> bool:
    """Tell whether a server speaks TLS, whatever its certificate is worth."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: it is only asked whether it answers
    try:
        async with _streams(address, context):
            return True
    except ssl.SSLError as error:
        return "alert" in str(error).lower()  # it refuses us, in TLS
    except OSError:
        return False


async def login_methods(address: Address, security: dict[str, Any]) -> list[str] | None:
    """Ask for the SASL mechanisms that are on; None where no login is wanted."""
    async with connected(address, _without_login(security)) as connection:
        response = await connection.send(SaslHandShakeRequest("PLAIN"))
    return None if response.error_code == _NOT_A_SASL_LISTENER else response.enabled_mechanisms


async def refusal_of_token(address: Address, security: dict[str, Any], token: str) -> str | None:
    """Show a token; return what the server has against it, which the client library overlooks.

    Source: RFC 7628, section 3.2.2: a server refuses by a challenge.
    """
    async with connected(address, _without_login(security)) as connection:
        await connection.send(SaslHandShakeRequest("OAUTHBEARER"))
        shown = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
        response = await connection.send(SaslAuthenticateRequest(shown))
    said = response.error_message or (response.sasl_auth_bytes or b"").decode(errors="replace")
    return str(said) or None


def _without_login(security: dict[str, Any]) -> dict[str, Any]:
    encrypted = security["security_protocol"].endswith("SSL")
    return {
        "security_protocol": "SSL" if encrypted else "PLAINTEXT",
        "ssl_context": security.get("ssl_context"),
    }


async def brokers(address: Address, security: dict[str, Any]) -> list[Address]:
    """Ask where a Kafka sends its clients on to, as the user that the settings name."""
    async with connected(address, security) as connection:
        response = await connection.send(MetadataRequest([]))
    return [Address(broker[1], broker[2]) for broker in response.brokers]


@asynccontextmanager
async def connected(
    address: Address, security: dict[str, Any]
) -> AsyncGenerator[AIOKafkaConnection]:
    """Have one connection of the client library, logged in, within the time of a probe."""
    async with asyncio.timeout(PROBE_S):
        connection = await create_conn(
            address.host, address.port, request_timeout_ms=int(PROBE_S * 1_000), **security
        )
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def _streams(
    address: Address, context: ssl.SSLContext | None
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = address.host if context else None
    async with asyncio.timeout(PROBE_S):
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=name
        )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await writer.wait_closed()
