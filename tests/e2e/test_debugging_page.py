"""The walk-through of `docs/debugging.md`, as typed: a wrong bill, from its finding to its test."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from support.dev_system import dev
from support.doc_page import not_said, section_of, typed_in
from support.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).parents[2] / "examples"
SHELL = "".join(
    f'{name}() {{ "{sys.executable}" -m {module} "$@"; }}\n'
    for name, module in {"starlings": "starlings.cli", "pytest": "pytest"}.items()
)
WITHIN_S = 150.0
CHANGE = re.compile(r"^```diff\n-(.*)\n\+(.*)\n```$", re.MULTILINE)
AT_PROMPT = re.compile(r"^\(Pdb\) (.*)$", re.MULTILINE)


class Terminal:
    """Types lines of the page into a shell, in a folder with the examples."""

    def __init__(self, services) -> None:
        self._services = services
        services.env["COLUMNS"] = "80"  # as the page is wide
        shutil.copytree(EXAMPLES / "debugging", services.folder / "examples" / "debugging")
        self.code = services.folder / "examples" / "debugging" / "shop.py"

    async def type(self, line: str, *answers: str) -> tuple[int, str]:
        """Type a line, and answers to what it asks; return its exit code and what it says."""
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", SHELL + line),
            cwd=self._services.folder,
            env=self._services.env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(WITHIN_S):
            said, _ = await shell.communicate("".join(f"{each}\n" for each in answers).encode())
        assert shell.returncode is not None
        text = said.decode().replace(self._services.topics.prefix, "starlings.")
        return shell.returncode, text

    def change(self, old: str, new: str) -> None:
        """Edit a line of the agent."""
        text = self.code.read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.code.write_text(text.replace(old, new), encoding="utf-8")


async def follow(terminal: Terminal, part: str) -> None:
    """Type what a part of the section says, and compare what comes."""
    for typed in typed_in(part):
        for line in typed.lines:
            asked = AT_PROMPT.findall(typed.shown) if "--pdb" in line else []
            code, said = await terminal.type(line, *asked)
            assert code == typed.exit_code, f"{line}\n{said}"
        expected = AT_PROMPT.sub("(Pdb)", typed.shown)
        assert not_said(expected, said) == [], said


async def test_the_page_finds_mends_and_keeps_a_wrong_answer(services):
    terminal, section = Terminal(services), section_of("debugging.md", "A wrong bill")
    start, *_ = typed_in(section)
    program, command, *agents = shlex.split(start.lines[0])
    assert (program, command) == ("starlings", "dev")
    (mend,) = CHANGE.finditer(section)
    until_mended, after = section[: mend.start()], section[mend.end() :]
    async with dev(services, *agents) as said:
        await follow(terminal, until_mended.replace(start.lines[0], "true"))
        terminal.change(mend[1], mend[2])
        await wait_until(
            lambda: any("is ready again" in line for line in said),
            timeout_s=WITHIN_S,
            message="the changed agents are ready: a fork is refused while nobody could do it",
        )
        await follow(terminal, after)
    terminal.change(mend[2], mend[1])
    (kept,) = [line for line in typed_in(section)[-1].lines if line.startswith("pytest")]
    code, failed = await terminal.type(kept)
    assert code == 1
    assert not_said("1 failed 2 passed -1249.0 +1.249", failed) == []
