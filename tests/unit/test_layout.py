"""What the layout promises to whoever installs only a part."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("starlings_coordinator.service", {"openai", "httpx", "starlette", "typer", "jgo"}),
        ("starlings.choreography", {"aiokafka", "asyncio", "structlog", "openai"}),
        ("starlings", {"pydantic", "aiokafka"}),
        ("starlings_agents.container", {"duckdb", "asyncpg", "openai"}),
        ("starlings_agents.sql", {"asyncpg", "httpx", "openai"}),
        ("starlings_agents.web_search", {"ddgs", "trafilatura", "lxml"}),
        ("starlings_agents.writer", {"ddgs", "trafilatura", "duckdb", "openai", "httpx"}),
        ("starlings_agents.http", {"ddgs", "trafilatura", "smtplib"}),
        ("starlings_agents.notify", {"ddgs", "trafilatura"}),
        ("starlings_planner.service", {"typer", "jgo", "starlette"}),
    ],
)
def test_a_part_loads_without_the_libraries_of_the_others(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted({unwanted!r} & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.split() == []
