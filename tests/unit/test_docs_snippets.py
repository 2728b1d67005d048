"""The Python of the documentation runs as it stands."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/agents.md",
    "docs/choreography.md",
    "docs/models.md",
    "docs/patterns.md",
]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
async def test_the_python_on_a_page_runs_from_top_to_bottom(page: str) -> None:
    blocks = FENCE.findall((ROOT / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} has no Python"
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks:
        code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if inspect.CO_COROUTINE & code.co_flags:
            await eval(code, names)  # noqa: S307
        elif "asyncio.run(" in block:
            await _in_thread(code, names)
        else:
            exec(code, names)  # noqa: S102


async def _in_thread(code: Any, names: dict[str, Any]) -> None:
    """Run a block that brings its own event loop."""
    await asyncio.to_thread(exec, code, names)
