"""Connections that reach only what a policy opens, whatever a name resolves to.

The guard sits where the connection is made: it resolves a name once, checks each address, and
connects to the very address that it checked. So nothing that comes later (a name that resolves
differently a moment later, a redirect, an odd spelling of 127.0.0.1) leads around it. TLS still
checks the certificate against the name. Proxies of the environment are not used, since a proxy
would resolve the name anew.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from starlings import StepFailed, TransientError
from starlings.messages import StarlingsError

from .addresses import Address, Policy, read_address

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_TRIED_ADDRESSES = 4
_NO_SUCH_NAME = frozenset(
    code
    for name in ("EAI_NONAME", "EAI_NODATA", "EAI_FAIL")
    if (code := getattr(socket, name, None)) is not None
)


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver for the addresses of a name.

    Raises:
        OSError: the name cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(read_address(str(info[4][0])) for info in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """The network, as far as a policy opens it; with no policy, all of it.

    What it refuses it raises as a `StepFailed`, which passes through the HTTP library unchanged.
    """

    def __init__(self, policy: Policy | None, *, resolve: Resolve = resolve) -> None:
        self._policy = policy
        self._resolve = resolve
        self._network: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of a host that the policy opens.

        Raises:
            StepFailed: `port_forbidden`, `address_forbidden` or `unknown_host`.
            TransientError: `unreachable`.
        """
        if self._policy is not None and not self._policy.opens_port(port):
            raise StepFailed(
                f"port {port} of {host} may not be opened; STARLINGS_FETCH_PORTS says which may",
                code="port_forbidden",
            )
        addresses = self._open_ones(host, await self._addresses(host, port))
        failure: Exception | None = None
        for address in addresses[:_TRIED_ADDRESSES]:
            try:
                return await self._network.connect_tcp(
                    str(address),
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise TransientError(f"cannot connect to {host}:{port}: {failure}", code="unreachable")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as the library calls it
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no address leads to a socket of this machine."""
        del timeout, socket_options
        raise StepFailed(f"{path} may not be opened", code="address_forbidden")

    async def sleep(self, seconds: float) -> None:
        """Wait between tries."""
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[Address]:
        problem: StarlingsError
        try:
            return await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            problem = _unresolved(host, error)
        raise problem

    def _open_ones(self, host: str, addresses: Sequence[Address]) -> Sequence[Address]:
        if self._policy is None:
            return addresses
        refusals = {address: self._policy.refusal(address) for address in addresses}
        found = [address for address, refusal in refusals.items() if refusal is None]
        if found:
            return found
        named = ", ".join(
            (str(address) if str(address) == host else f"{host} is {address}") + f" ({refusal})"
            for address, refusal in refusals.items()
        )
        raise StepFailed(
            f"{named or host} may not be opened: it is not of the public Internet; "
            "STARLINGS_FETCH_ALLOW names networks that may be opened beside it",
            code="address_forbidden",
        )


def _unresolved(host: str, error: Exception) -> StarlingsError:
    said = f"the name {host!r} cannot be resolved: {error}"
    if isinstance(error, UnicodeError) or getattr(error, "errno", None) in _NO_SUCH_NAME:
        return StepFailed(said, code="unknown_host")
    return TransientError(said, code="unreachable")


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Trust the usual authorities, and those that SSL_CERT_FILE names; made once, as it is slow."""
    return httpx.create_ssl_context()


def connections(network: httpcore.AsyncNetworkBackend) -> httpcore.AsyncConnectionPool:
    """Make connections for one fetch: each is new, so each has passed the guard."""
    return httpcore.AsyncConnectionPool(
        ssl_context=tls_context(),
        max_keepalive_connections=0,
        network_backend=network,
    )
