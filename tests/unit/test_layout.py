"""What the layout promises to whoever installs only a part."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize(("about", "asks"), [("", False), (", model='gpt-4o-mini'", True)])
def test_what_asks_models_is_imported_before_a_service_s_loop_turns(about, asks, tmp_path):
    program = (
        "import atexit, sys\n"
        "from starlings import Agent\n"
        "from starlings.agents.service import run_agents\n"
        "atexit.register(lambda: print('openai' in sys.modules))\n"
        f"run_agents([Agent('shop', description='Sells.'{about})])\n"
    )
    environment = {**os.environ, "STARLINGS_GRACE_S": "soon"}  # so that no loop turns at all
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )
    assert "STARLINGS_GRACE_S" in ended.stderr
    assert ended.stdout.split() == [str(asks)]
