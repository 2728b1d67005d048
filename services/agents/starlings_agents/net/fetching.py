"""Getting an answer from an address, within limits: size, time, redirects, and whom to reach.

The HTTP library's own client is not used: it unpacks without a limit, follows redirects by itself,
and logs addresses, which may hold secrets. Errors name addresses as `shown`, for the same reason,
and never have the library's error behind them, whose text may quote a header. They
quote nothing that is cut off: half a secret would not be recognised as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx

from starlings import StepFailed, TransientError
from starlings.messages import StarlingsError

from .addresses import FetchSettings, Policy
from .guard import GuardedNetwork, connections
from .unpacking import ACCEPTED, Unpacker, read_body

USER_AGENT = "Mozilla/5.0 (compatible; Starlings)"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
REPEATABLE = frozenset({"GET", "HEAD"})

_PORTS = {"http": 80, "https": 443}
_RETRY_AFTER_DIGITS = 6


@dataclass(frozen=True)
class Limits:
    """How much of an answer is read, and how long is waited for it.

    What is larger is an error, or where `cuts` is set its beginning.
    """

    size_bytes: int = 5_000_000
    time_s: float = 20.0
    redirects: int = 5
    cuts: bool = False


@dataclass(frozen=True)
class Asked:
    """What is asked for; `shown` stands for `url` in what people read."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    shown: str = ""

    @property
    def name(self) -> str:
        """The address, for people."""
        return self.shown or self.url


@dataclass(frozen=True)
class Fetched:
    """An answer, wherever redirects led; `shown` stands for `url` in what people read."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes
    shown: str

    @property
    def media_type(self) -> str:
        """The media type, without its parameters; empty where none is said."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset that the headers name."""
        parameters = str(self.headers.get("content-type", "")).lower().partition("charset=")[2]
        return parameters.partition(";")[0].strip(" \"'") or None


def limits_of(settings: FetchSettings) -> Limits:
    """Read the limits out of settings."""
    return Limits(settings.max_bytes, settings.timeout_s, settings.max_redirects)


def origin_of(url: httpx.URL) -> str:
    """Name scheme, host and, where it is not the usual one, port: `https://example.org`."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    usual = url.port is None or url.port == _PORTS.get(url.scheme)
    return f"{url.scheme}://{host}" + ("" if usual else f":{url.port}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds of `Retry-After`; its form as a date would need two clocks to agree."""
    said = str(headers.get("retry-after", "")).strip()
    fits = said.isascii() and said.isdecimal() and len(said) <= _RETRY_AFTER_DIGITS
    return float(said) if fits else None


def _anywhere(_url: httpx.URL) -> None:
    """Follow a redirect to any address that the policy opens."""


async def fetch(
    asked: Asked,
    *,
    policy: Policy | None,
    limits: Limits,
    network: httpcore.AsyncNetworkBackend | None = None,
    may_go_to: Callable[[httpx.URL], None] = _anywhere,
) -> Fetched:
    """Ask, and follow redirects of what may be asked twice.

    Args:
        asked: what is asked for.
        policy: what may be connected to; None: everything, for addresses of an operator.
        limits: of the whole, redirects included.
        network: what is connected through; None: the guarded network.
        may_go_to: raises where a redirect may not be followed to an address.

    Raises:
        StepFailed: `url_invalid`, `address_forbidden`, `port_forbidden`, `unknown_host`,
            `too_large`, `too_many_redirects`, `encoding_…`.
        TransientError: `unreachable`, `fetch_timeout`.
    """
    failure: StarlingsError
    try:
        async with asyncio.timeout(limits.time_s):
            return await _follow(
                asked, limits, network or GuardedNetwork(policy), may_go_to=may_go_to
            )
    except StarlingsError:
        raise
    except TimeoutError:
        failure = TransientError(
            f"no whole answer from {asked.name} within {limits.time_s:g} s; "
            "STARLINGS_FETCH_TIMEOUT_S sets the limit",
            code="fetch_timeout",
        )
    raise failure


async def _follow(
    asked: Asked,
    limits: Limits,
    network: httpcore.AsyncNetworkBackend,
    *,
    may_go_to: Callable[[httpx.URL], None],
) -> Fetched:
    for _ in range(limits.redirects + 1):
        url = read_url(asked.url, asked.name)
        answer = await _ask(asked, url, limits, network)
        target = answer.headers.get("location")
        if answer.status not in REDIRECTS or asked.method not in REPEATABLE or target is None:
            return answer
        goal = _joined(url, target, asked.name)
        may_go_to(goal)
        asked = _sent_on(asked, url, goal)
    raise StepFailed(
        f"{asked.name} was to be followed as the {limits.redirects + 1}th redirect; "
        "STARLINGS_FETCH_MAX_REDIRECTS sets the limit",
        code="too_many_redirects",
    )


def _sent_on(asked: Asked, url: httpx.URL, goal: httpx.URL) -> Asked:
    """Ask the same of another address; credentials are for the origin that they were given for."""
    headers = asked.headers
    if origin_of(goal) != origin_of(url):
        headers = {name: headers[name] for name in headers if name.lower() not in CREDENTIALS}
    shown = without_query(str(goal)) if asked.shown else ""
    return replace(asked, url=str(goal), headers=headers, shown=shown)


async def _ask(
    asked: Asked, url: httpx.URL, limits: Limits, network: httpcore.AsyncNetworkBackend
) -> Fetched:
    goal = httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )
    headers = _headers(asked, url).raw
    failure: StarlingsError
    try:
        async with (
            connections(network) as pool,
            pool.stream(asked.method, goal, headers=headers, content=asked.body) as response,
        ):
            said = httpx.Headers(response.headers)
            unpacker = Unpacker(said.get("content-encoding", ""), asked.name)
            chunks = response.aiter_stream()
            body = await read_body(chunks, unpacker, limit_bytes=limits.size_bytes, cut=limits.cuts)
        if body is not None:
            return Fetched(str(url), response.status, said, body, asked.name)
        failure = StepFailed(
            f"{asked.name} answered with more than {limits.size_bytes:,} bytes (unpacked); "
            "STARLINGS_FETCH_MAX_BYTES sets the limit",
            code="too_large",
        )
    except httpcore.LocalProtocolError:
        failure = StepFailed(
            f"{asked.name} cannot be asked so: a header has characters that HTTP does not allow",
            code="request_invalid",
        )
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        failure = TransientError(
            f"no answer from {asked.name}: {error or type(error).__name__}", code="unreachable"
        )
    raise failure


def _headers(asked: Asked, url: httpx.URL) -> httpx.Headers:
    headers = httpx.Headers({"accept": "*/*", "user-agent": USER_AGENT, **asked.headers})
    headers["host"] = url.netloc.decode("ascii")
    headers["accept-encoding"] = ACCEPTED
    headers["connection"] = "close"
    if asked.body is not None:
        headers["content-length"] = str(len(asked.body))
    return headers


def read_url(text: str, shown: str) -> httpx.URL:
    """Read an address of the web.

    Raises:
        StepFailed: `url_invalid`.
    """
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError, UnicodeError):
        url = httpx.URL("")
    if url.scheme not in _PORTS or not url.host:
        raise StepFailed(
            f"{shown!r} is no address that can be opened; it has to begin with http:// or "
            "https:// and name a host",
            code="url_invalid",
        )
    if url.userinfo:
        raise StepFailed(
            f"the address of {url.host} has a user or password in it, which would stand in every "
            "log; leave it out",
            code="url_invalid",
        )
    return url


def _joined(url: httpx.URL, target: str, shown: str) -> httpx.URL:
    try:
        return url.join(target)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        pass
    raise StepFailed(f"{shown} redirects to something that is no address", code="url_invalid")


def without_query(url: str) -> str:
    """Leave out of an address what may be a secret: user, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
