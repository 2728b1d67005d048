"""What the layout promises to whoever installs only a part."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

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


@pytest.mark.parametrize(
    "package", ["starlings", "starlings.agents", "starlings.llm", "starlings.testing"]
)
def test_every_name_that_a_package_offers_is_there_and_no_other(package: str) -> None:
    offering = import_module(package)
    for name in offering.__all__:
        assert getattr(offering, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        offering.Nothing  # noqa: B018 - asking is the test
