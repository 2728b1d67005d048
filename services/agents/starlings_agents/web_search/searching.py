"""Searching the web through ddgs, which asks public search engines, or through a server of yours.

Which engines are asked is a setting. ddgs waits for them in threads, so a search that takes too
long is left to end by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from starlings import StepFailed, TransientError
from starlings.messages import ConfigError
from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

from .installed import check_installed
from .searxng import Question, ask_searxng

Period = Literal["day", "week", "month", "year"]

_NOTHING_FOUND = "No results found"


class SearchSettings(OwnSettings):
    """Who is asked for pages, and how patiently."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_SEARCH_")

    backend: str = Field(
        default="auto",
        pattern=r"^[a-z_]+(,[a-z_]+)*$",
        description="search engines, such as duckduckgo,brave; auto: whichever answers",
    )
    region: str = Field(
        default="us-en",
        pattern=r"^[a-z]{2}-[a-z]{2}$",
        description="country and language of the results, such as us-en or pt-pt",
    )
    timeout_s: int = Field(default=10, ge=1, le=120, description="seconds for a search: 1 to 120")
    proxy: SecretStr | None = Field(
        default=None, description="a proxy for searches, such as http://proxy.example:3128"
    )
    ca_file: Path | None = Field(
        default=None, description="authorities (PEM) that sign for that proxy"
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+",
        description="a SearXNG server to ask instead of public engines: http://searx.example:8080",
    )


async def search_pages(query: str, *, count: int, period: Period | None) -> list[dict[str, str]]:
    """Find pages: `title`, `url` and `snippet` of each, the best first.

    Raises:
        TransientError: `search_unavailable`, `search_timeout`, `nothing_found`.
        ConfigError: an engine that ddgs does not know.
    """
    settings = load_settings(SearchSettings)
    if settings.url is not None:
        asked = Question(query, language=_language(settings.region), period=period)
        pages = await ask_searxng(asked, url=settings.url, timeout_s=settings.timeout_s)
        if not pages:
            raise _nothing_found(query, "SearXNG")
        return pages[:count]
    found = await _engines(query, settings, count, period)
    pages = [
        {"title": one.get("title", ""), "url": one.get("href", ""), "snippet": one.get("body", "")}
        for one in found
    ]
    return [page for page in pages if page["url"].startswith(("http://", "https://"))]


def _language(region: str) -> str:
    country, _, language = region.partition("-")
    return f"{language}-{country.upper()}"


async def _engines(
    query: str, settings: SearchSettings, count: int, period: Period | None
) -> Sequence[dict[str, Any]]:
    check_installed("ddgs")
    limit_s = settings.timeout_s + 5  # its own limit comes first, with its words
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.to_thread(_search, query, settings, count, period)
    except TimeoutError:
        raise TransientError(
            f"no search engine answered within {limit_s} s; STARLINGS_SEARCH_TIMEOUT_S sets the "
            "limit",
            code="search_timeout",
        ) from None


def _search(
    query: str, settings: SearchSettings, count: int, period: Period | None
) -> Sequence[dict[str, Any]]:
    from ddgs import DDGS  # noqa: PLC0415 - slow, and only this agent needs it
    from ddgs.exceptions import DDGSException, TimeoutException  # noqa: PLC0415 - as above

    _check_backend(settings.backend)
    ca_file = str(settings.ca_file) if settings.ca_file else True
    try:
        proxy = settings.proxy.get_secret_value() if settings.proxy else None
        engines = DDGS(proxy=proxy, timeout=settings.timeout_s, verify=ca_file)
        return engines.text(
            query,
            backend=settings.backend,
            region=settings.region,
            timelimit=period and period[0],
            max_results=count,
        )
    except TimeoutException:
        code, said = "search_timeout", f"none answered within {settings.timeout_s} s"
    except DDGSException as error:
        if _NOTHING_FOUND in str(error):
            raise _nothing_found(query, settings.backend) from None
        # the rest may quote the proxy's address, and so its password
        code, said = "search_unavailable", str(error).partition(":")[0]
    raise TransientError(
        f"the search engines ({settings.backend}) could not be asked: {said}", code=code
    )


def _check_backend(backend: str) -> None:
    from ddgs.engines import ENGINES  # noqa: PLC0415 - as above

    known = {"auto", *ENGINES["text"]}
    unknown = [name for name in backend.split(",") if name not in known]
    if unknown:
        raise ConfigError(
            f"STARLINGS_SEARCH_BACKEND names {unknown[0]!r}; it takes {', '.join(sorted(known))}"
        )


def _nothing_found(query: str, backend: str) -> StepFailed | TransientError:
    return TransientError(
        f"nothing was found for {query!r}; engines ({backend}) that are asked too often say the "
        "same, so it may work later, or with other words",
        code="nothing_found",
    )
