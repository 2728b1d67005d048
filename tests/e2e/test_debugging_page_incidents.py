"""The commands of `docs/debugging.md` on incidents, as they stand there."""

from __future__ import annotations

import pytest
from support.asking import call
from support.cli_process import CommandLine
from support.doc_page import commands_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_the_page_writes_incidents_as_it_says(services):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", "math")
    async with services.client() as client:
        run = await client.submit("for customer Ann", plan=[call("math", "multiply", a=6, b=7)])
        assert (await run.result(timeout_s=60)).output == 42
    commands = commands_of("debugging.md", "Incidents")
    programs = {"starlings": "starlings.cli", "pytest": "pytest"}
    assert [argv[0] for argv in commands] == ["starlings", "starlings", "pytest", "pytest"]
    ended = [await starlings(*argv[1:], program=programs[argv[0]]) for argv in commands]
    assert [each.code for each in ended] == [0] * 4, ended
    assert "redacted-own-1" in ended[1].stdout
    assert "customer Ann" in (services.folder / "incident.jsonl").read_text()
    assert "customer redacted-own-1" in (services.folder / "shared.jsonl").read_text()
    assert "1 passed" in ended[2].stdout
    assert "2 passed" in ended[3].stdout
