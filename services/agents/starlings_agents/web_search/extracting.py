"""The text of a page, without what stands around it: menus, advertisements, scripts."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from starlings import StepFailed
from starlings_agents.net.charsets import read_text
from starlings_agents.net.fetching import Fetched

from .installed import check_installed

WITHIN_S = 20.0
AT_ONCE = 2

_CHILD = Path(__file__).with_name("extraction_process.py")
_PLAIN = frozenset({"text/plain", "text/markdown", "text/csv", "application/json"})
_HTML = frozenset({"text/html", "application/xhtml+xml", "application/xml", "text/xml", ""})
_META_LIMIT = 500


@dataclass(frozen=True)
class Text:
    """The text of a page, and what the page says about itself."""

    url: str
    text: str
    title: str = ""
    author: str = ""
    date: str = ""
    site: str = ""
    is_cut: bool = False


def plain_text(page: Fetched) -> str:
    """Return a page's own text, as it was sent.

    Raises:
        StepFailed: `not_text`.
    """
    if page.media_type not in _PLAIN | _HTML and not page.media_type.startswith("text/"):
        raise StepFailed(
            f"{page.shown} is {page.media_type}, and only pages and texts can be read here",
            code="not_text",
        )
    return read_text(page.body, page.charset)


async def extract_text(page: Fetched, *, max_chars: int) -> Text:
    """Take the text out of a page.

    Raises:
        StepFailed: `not_text`, `no_text`, `page_unreadable`.
    """
    whole = plain_text(page)
    if page.media_type not in _HTML:
        return Text(page.url, whole[:max_chars], is_cut=len(whole) > max_chars)
    check_installed("trafilatura")
    async with _turn():
        said = await _ask(page, max_chars)
    if not said["text"].strip():
        raise StepFailed(
            f"there is no text in {page.shown}; it may be made by scripts, which are not run here",
            code="no_text",
        )
    return Text(
        page.url,
        said["text"],
        title=said["title"][:_META_LIMIT],
        author=said["author"][:_META_LIMIT],
        date=said["date"][:_META_LIMIT],
        site=said["sitename"][:_META_LIMIT],
        is_cut=int(said["length"]) > max_chars,
    )


_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def _turn() -> asyncio.Semaphore:
    """Take one of the few places in which pages are read at once, in this loop."""
    loop = asyncio.get_running_loop()
    if loop not in _turns:
        _turns.clear()  # a process has one loop; tests have one after the other
        _turns[loop] = asyncio.Semaphore(AT_ONCE)
    return _turns[loop]


async def _ask(page: Fetched, max_chars: int) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(_CHILD),
        page.url,
        str(max_chars),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    said = b""
    why = "its parser failed"
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate(page.body)
    except TimeoutError:
        why = f"it keeps the parser busy for more than {WITHIN_S:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    if process.returncode == 0:
        answer: dict[str, str] = json.loads(said)
        return answer
    raise StepFailed(f"{page.shown} cannot be read: {why}", code="page_unreadable")
