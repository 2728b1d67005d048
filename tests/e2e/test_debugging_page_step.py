"""The commands of `docs/debugging.md` on replaying a step, as they stand there."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.asking import call
from support.cli_process import CommandLine, Ended

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "debugging.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Read the commands of the section."""
    page = PAGE.read_text(encoding="utf-8")
    section = page.split("\n## Replay a step\n")[1].split("\n## ")[0]
    lines = [line for block in FENCE.findall(section) for line in block.strip().splitlines()]
    return [shlex.split(line)[1:] for line in lines]


async def debugged(services, *argv: str) -> Ended:
    """Run a command that stops in a debugger, and let it go on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starlings.cli", *argv),
        env=services.env,
        cwd=services.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"continue\n")
    return await CommandLine.end(process)


async def test_the_page_replays_a_step_as_it_says(services):
    starlings = CommandLine(services)
    services.start("coordinator", "planner", "math")
    async with services.client() as client:
        run = await client.submit(plan=[call("math", "multiply", a=6, b=7) | {"id": "total"}])
        assert (await run.result(timeout_s=60)).output == 42
    told = commands()
    assert len(told) == 7
    for argv in told:
        ended = await (debugged(services, *argv) if "--pdb" in argv else starlings(*argv))
        assert ended.code == 0, (argv, ended.stdout, ended.stderr)
        if argv[:2] == ["replay", "step"] and "--json" not in argv:
            assert "the same came of it" in ended.stdout
        if "--pdb" in argv:
            assert "(Pdb)" in ended.stdout
