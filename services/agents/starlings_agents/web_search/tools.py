"""The tools of the agent `web_search`, to be called one after the other or on their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from starlings import Agent, Result, StepContext, StepFailed, TransientError
from starlings.messages import StarlingsError
from starlings.service.settings import load_settings
from starlings_agents.net.addresses import FetchSettings, policy_of
from starlings_agents.net.fetching import Asked, Fetched, fetch, limits_of, retry_after

from .extracting import Text, extract_text, plain_text
from .searching import Period, search_pages
from .summarising import INSTRUCTIONS, OFFLINE_MODEL, beginnings, cited, task_of

agent = Agent(
    "web_search",
    description="Searches the web, reads pages, and answers questions from them with their sources",
    instructions='To answer a question, call search and then summarise with pages: "previous".',
)

MAX_PAGES = 8
PAGE_CHARS = 8_000  # of each page, to be summed up
TEXT_CHARS = 50_000  # of one page that is handed on

_ACCEPT = "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.5"
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

Query = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
Url = Annotated[str, Field(min_length=1, max_length=4_000)]


def _urls(pages: Any) -> Any:
    """Take the addresses out of what `search` found, or leave a list of addresses as it is."""
    if isinstance(pages, dict) and "results" in pages:
        pages = pages["results"]
    if isinstance(pages, list):
        return [page.get("url") if isinstance(page, dict) else page for page in pages][:MAX_PAGES]
    return [pages] if isinstance(pages, str) else pages


Pages = Annotated[list[Url], Field(min_length=1), BeforeValidator(_urls)]


@agent.tool(idempotent=True)
async def search(
    query: Query,
    count: Annotated[int, Field(ge=1, le=20)] = 5,
    period: Period | None = None,
) -> Result:
    """Searches the web; gives title, url and snippet of each page found, the best first.

    Args:
        query: what to look for, in a few words.
        count: how many pages.
        period: only pages of the last day, week, month or year.
    """
    results = await search_pages(query, count=count, period=period)
    listed = "; ".join(f"{one['title']} ({one['url']})" for one in results)
    return Result({"query": query, "results": results}, summary=f"found {listed}"[:300])


@agent.tool(name="fetch", idempotent=True)
async def fetch_page(url: Url) -> Result:
    """Fetches a page and gives it as it was sent, HTML as a rule.

    Args:
        url: its address.
    """
    page = await _get(url)
    output = {"url": page.url, "media_type": page.media_type, "text": plain_text(page)}
    return Result(output, summary=f"{page.url}: {len(page.body):,} bytes of {page.media_type}")


@agent.tool(idempotent=True)
async def extract(
    url: Url, max_chars: Annotated[int, Field(ge=100, le=1_000_000)] = TEXT_CHARS
) -> Result:
    """Fetches a page and gives its text without menus, advertisements and scripts.

    Args:
        url: its address.
        max_chars: where the text is cut.
    """
    text = await extract_text(await _get(url), max_chars=max_chars)
    return Result(asdict(text), summary=f"{text.title or text.url}: {text.text}"[:300])


@agent.tool(idempotent=True)
async def summarise(question: Query, pages: Pages, ctx: StepContext) -> Result:  # noqa: D417 - what models read
    """Answers a question from pages of the web, and names the sources.

    Args:
        question: what is to be answered.
        pages: addresses of pages, or what search gave.
    """
    read = await asyncio.gather(*(_read(url) for url in dict.fromkeys(pages)))
    texts = [one for one in read if isinstance(one, Text)]
    left_out = [one for one in read if not isinstance(one, Text)]
    if not texts:
        raise _nothing_to_read(left_out)
    summary, numbers = cited(await _summary(question, texts, ctx), len(texts))
    sources = [
        {
            "number": n,
            "url": text.url,
            "title": text.title,
            "date": text.date,
            "cited": n in numbers,
        }
        for n, text in enumerate(texts, 1)
    ]
    output = {
        "summary": summary,
        "sources": sources,
        "left_out": [{"url": url, "why": str(error)} for url, error in left_out],
    }
    return Result(output, summary=summary[:300])


async def _summary(question: str, texts: Sequence[Text], ctx: StepContext) -> str:
    task = task_of(question, texts)
    turn = await ctx.model.chat(
        [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": task}]
    )
    return beginnings(texts) if turn.model == OFFLINE_MODEL else turn.text


async def _read(url: str) -> Text | tuple[str, StarlingsError]:
    try:
        return await extract_text(await _get(url), max_chars=PAGE_CHARS)
    except StarlingsError as error:
        return url, error


async def _get(url: str) -> Fetched:
    settings = load_settings(FetchSettings)
    asked = Asked(url, headers={"accept": _ACCEPT})
    page = await fetch(asked, policy=policy_of(settings), limits=limits_of(settings))
    if page.status // 100 == 2:  # noqa: PLR2004 - HTTP's good ones
        return page
    said = f"{page.url} answered HTTP {page.status}"
    code = f"http_{page.status}"
    if page.status in _RETRIED:
        raise TransientError(said, code=code, retry_after_s=retry_after(page.headers))
    raise StepFailed(said, code=code)


def _nothing_to_read(left_out: Sequence[tuple[str, StarlingsError]]) -> StarlingsError:
    reasons = "; ".join(str(error) for _, error in left_out)
    said = f"none of the {len(left_out)} pages could be read: {reasons}"
    if any(error.retryable for _, error in left_out):
        return TransientError(said, code="pages_unreadable")
    return StepFailed(said, code="pages_unreadable")
