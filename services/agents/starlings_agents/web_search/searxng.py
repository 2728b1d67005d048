"""Searching through a SearXNG server of one's own, by its JSON interface.

The address is a setting of the operator, so it may be on a network of one's own. The server has to
have `json` among its `search.formats` (docs.searxng.org/dev/search_api.html).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlings import StepFailed, TransientError
from starlings_agents.net.fetching import Asked, Fetched, Limits, fetch, retry_after

ANSWER_BYTES = 5_000_000

_FORBIDDEN = 403
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Question:
    """What is looked for, in which language (`en-US`), and how new it has to be."""

    query: str
    language: str
    period: str | None = None


async def ask_searxng(question: Question, *, url: str, timeout_s: float) -> list[dict[str, str]]:
    """Find pages: `title`, `url` and `snippet` of each, the best first; perhaps none.

    Raises:
        TransientError: `search_unavailable`, and what is wrong with the way there.
        StepFailed: `search_refused`.
    """
    wanted = {"q": question.query, "format": "json", "language": question.language}
    if question.period is not None:
        wanted["time_range"] = question.period
    shown = "the search server (STARLINGS_SEARCH_URL)"
    asked = Asked(f"{url.rstrip('/')}/search?{urlencode(wanted)}", shown=shown)
    answer = await fetch(asked, policy=None, limits=Limits(ANSWER_BYTES, timeout_s))
    if answer.status // 100 != 2:  # noqa: PLR2004 - HTTP's good ones
        raise _refusal(answer, shown)
    try:
        found = json.loads(answer.body)["results"]
        return [_page(one) for one in found if str(one["url"]).startswith(("http://", "https://"))]
    except (ValueError, KeyError, TypeError):
        said = f"{shown} did not answer as SearXNG does"
        raise TransientError(said, code="search_unavailable") from None


def _page(one: dict[str, Any]) -> dict[str, str]:
    texts = {"title": one.get("title"), "url": one["url"], "snippet": one.get("content")}
    return {name: str(text or "") for name, text in texts.items()}


def _refusal(answer: Fetched, shown: str) -> StepFailed | TransientError:
    said = f"{shown} answered HTTP {answer.status}"
    if answer.status in _RETRIED:
        wait = retry_after(answer.headers)
        return TransientError(said, code="search_unavailable", retry_after_s=wait)
    if answer.status == _FORBIDDEN:
        said += ": let it answer in JSON (`search.formats` of its settings)"
    return StepFailed(said, code="search_refused")
