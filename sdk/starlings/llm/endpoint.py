"""Which model answers: the one that is configured, else the offline rules in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

import structlog
from pydantic import SecretStr

from starlings.messages.errors import ConfigError

from .choice import Fallback, Price, key_in
from .redaction import redacted, safe_to_say, secrets_of
from .settings import OPENAI_URL, LlmSettings

_log = structlog.get_logger(__name__)
NOWHERE = "http://recorded.invalid/v1"  # a name that never resolves (RFC 6761)
_NO_KEY = SecretStr("not-needed")  # the client insists on one; local servers ignore it


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks the OpenAI chat protocol, and the model to ask there."""

    base_url: str = field(repr=False)  # it may carry credentials
    model: str
    api_key: SecretStr = _NO_KEY
    offline: bool = False
    price: Price | None = None
    recorded_in: str = ""  # a file: nobody is asked

    @property
    def host(self) -> str:
        """Host and port, without the credentials that an address may carry."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def public_url(self) -> str:
        """The address without credentials and options."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(netloc=self.host, query="", fragment=""))

    @property
    def has_key(self) -> bool:
        """Tell whether an API key was configured."""
        return self.api_key is not _NO_KEY

    @property
    def is_azure(self) -> bool:
        """Tell whether this is OpenAI's twin on Azure, which has a header for the key."""
        return (urlsplit(self.base_url).hostname or "").lower().endswith(".azure.com")

    @property
    def is_openai(self) -> bool:
        """Tell whether this is OpenAI's own service, or its twin on Azure."""
        host = (urlsplit(self.base_url).hostname or "").lower()
        return self.is_azure or host == "openai.com" or host.endswith(".openai.com")

    @property
    def is_local(self) -> bool:
        """Tell whether the server is on this machine, where no proxy shall be asked."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        key = self.api_key.get_secret_value() if self.has_key else ""
        return secrets_of(key, self.base_url)

    def redacted(self, text: str) -> str:
        """Take the key, and the credentials in the address, out of what a server answered."""
        return redacted(text, self._secrets)

    def safe_to_say(self, text: str) -> str:
        """Take all that is, or looks like, a secret out of an error's text."""
        return safe_to_say(text, self._secrets)

    @property
    def description(self) -> str:
        """Say in words which model answers."""
        if self.recorded_in:
            return f"{self.model}: answers recorded in {self.recorded_in}"
        if self.offline:
            return (
                f"{self.model}: rules in this process, no language model; they know sums, texts "
                "and weather (set OPENAI_API_KEY or OPENAI_BASE_URL for a real model)"
            )
        return f"{self.model} at {self.host}"


def configured_endpoint(settings: LlmSettings) -> Endpoint | None:
    """Return the endpoint that the settings name; None where they name none."""
    if settings.cassette is not None and settings.cassette_mode == "replay":
        recorded_in = str(settings.cassette)
        return Endpoint(base_url=NOWHERE, model=settings.model, recorded_in=recorded_in)
    if settings.openai_api_key is None and settings.openai_base_url is None:
        return None
    return Endpoint(
        base_url=settings.openai_base_url or OPENAI_URL,
        model=settings.model,
        api_key=settings.openai_api_key or _NO_KEY,
        price=settings.price,
    )


def fallback_endpoints(settings: LlmSettings, first: Endpoint) -> list[Endpoint]:
    """Return who is asked next, in order; a key goes only to the server that it was given for.

    Raises:
        ConfigError: a key is to be taken from a variable that is not set.
    """
    return [_fallback(each, first) for each in settings.fallbacks if not first.offline]


def _fallback(fallback: Fallback, first: Endpoint) -> Endpoint:
    here = fallback.base_url is None or fallback.base_url == first.base_url
    key = first.api_key if here else _NO_KEY
    if fallback.api_key_env is not None:
        key = key_in(fallback.api_key_env)
    return Endpoint(
        base_url=fallback.base_url or first.base_url,
        model=fallback.model,
        api_key=key,
        price=fallback.price,
    )


@contextmanager
def resolve_model(settings: LlmSettings) -> Iterator[Endpoint]:
    """Yield the configured endpoint, else one of offline rules that lives as long as the block.

    Raises:
        ConfigError: no model is configured, and the offline model is not installed.
    """
    endpoint = configured_endpoint(settings)
    if endpoint is not None:
        yield endpoint
        return
    try:
        from .offline import MODEL, offline_server  # noqa: PLC0415 - an extra, see below
    except ModuleNotFoundError as error:
        raise ConfigError(
            "set OPENAI_API_KEY or OPENAI_BASE_URL to say which model to ask; the offline model "
            f"needs the extra starlings[offline] ({error.name} is not installed)"
        ) from None
    with offline_server() as base_url:
        endpoint = Endpoint(base_url=base_url, model=MODEL, offline=True)
        _log.warning("no model is configured: using the offline rules", model=endpoint.description)
        yield endpoint
