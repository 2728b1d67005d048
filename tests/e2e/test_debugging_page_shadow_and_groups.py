"""The commands of `docs/debugging.md` on shadows and consumer groups, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.asking import call, steps_committed
from support.cli_process import CommandLine
from support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "debugging.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(title: str) -> list[list[str]]:
    """Read the commands of one section."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for block in FENCE.findall(section) for line in block.strip().splitlines()]
    return [shlex.split(line)[1:] for line in lines]


async def test_the_page_measures_a_candidate_and_rewinds_a_group_as_it_says(services):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", "math")
    async with services.client() as client:
        run = await client.submit(plan=[call("math", "multiply", a=6, b=7)])
        assert (await run.result(timeout_s=60)).output == 42

    async def committed() -> bool:
        return await steps_committed(services, "math") == 1

    await wait_until(committed, timeout_s=30, message="the step is committed")
    shadows = [await starlings(*argv) for argv in commands_of("Shadow")]
    assert [each.code for each in shadows] == [0] * 3, [each.stderr for each in shadows]
    assert "1 step of math: 1 same" in shadows[0].stdout
    assert (services.folder / "shadow.jsonl").read_text().count("\n") == 1
    services.stop("math")
    commands = commands_of("Rewind a group")
    assert len(commands) == 4
    ended = [await starlings(*argv) for argv in commands]
    assert [each.code for each in ended] == [0] * 4, [each.stderr for each in ended]
    groups, math, looked, moved = (each.stdout for each in ended)
    assert "coordinator" in groups
    assert services.topics.agent_group("math") in math
    assert "again" in looked
    assert "tools that" in moved
    shown = await starlings("group", "show", "math", "--json")
    assert shown.document["pending"] == 1
