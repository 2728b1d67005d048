"""The commands of `docs/debugging.md` on forks, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.cli_process import CommandLine

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "debugging.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_of(title: str) -> list[list[str]]:
    """Read the commands of one section."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for block in FENCE.findall(section) for line in block.strip().splitlines()]
    return [shlex.split(line)[1:] for line in lines]


async def test_the_page_forks_a_run_and_compares_as_it_says(services):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", "math", "string")
    plan = [
        {"agent": "math", "task": "multiply 10 by 5"},
        {"agent": "string", "task": "Count the words in 'Hello World'"},
        {"agent": "math", "task": "multiply {{steps.s1.output}} by {{steps.s2.output}}"},
    ]
    plan[2]["depends_on"] = ["s1", "s2"]
    async with services.client() as client:
        run = await client.submit(plan=plan)
        assert (await run.result(timeout_s=60)).output == 100
    looked, forked, shown, compared, document = [
        await starlings(*[run.run_id if word == "latest" else word for word in argv])
        for argv in commands_of("Fork and diff")
    ]
    for each in (looked, forked, shown, compared, document):
        assert each.code == 0, each.stderr
    assert "nothing was published" in looked.stdout
    assert "starlings diff" in forked.stderr
    assert "inherited" in shown.stdout
    assert "≠ s2" in compared.stdout
    assert [step["same"] for step in document.document["steps"]] == [True, False, False]
