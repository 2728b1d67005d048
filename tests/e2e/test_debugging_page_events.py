"""The commands of `docs/debugging.md` on events, as they stand there, on a running system."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.command_line import command_line

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PAGE = Path(__file__).parents[2] / "docs" / "debugging.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)


def commands() -> list[str]:
    """Read the commands of the section."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Events\n")[1].split("\n## ")[0]
    return [line for block in FENCE.findall(section) for line in block.strip().splitlines()]


@pytest.fixture
def starlings(system, monkeypatch, tmp_path):
    """The command line beside the system."""
    for line in command_line(monkeypatch, tmp_path):
        for name, value in system.env.items():
            if name.startswith(("KAFKA_", "STARLINGS_")):
                monkeypatch.setenv(name, value)
        yield line


@pytest.fixture
def typed(starlings, system, monkeypatch):
    """Type a line, with what stands before its command; give what it says."""
    copy = f"copy-{system.topics.prefix}"

    def type_(line: str) -> str:
        words = shlex.split(line.replace("copy.", copy))
        while "=" in words[0]:
            monkeypatch.setenv(*words.pop(0).split("=", 1))
        code = starlings(*words[1:])
        assert code == 0, f"{line}\n{starlings.stdout}{starlings.stderr}"
        return starlings.stdout

    return type_


def test_the_page_looks_into_the_log_as_it_says(system, starlings, typed):
    system.start("coordinator", "planner", "math", "string")
    assert starlings("run", REQUEST) == 0, starlings.stderr
    lines = commands()
    assert len(lines) == 13
    said = {line: typed(line) for line in lines}

    assert "plan_created" in said[lines[0]]
    assert '"output":50' in said[lines[2]]
    (tree,) = (text for line, text in said.items() if line.endswith("--tree"))
    assert "● plan_created  +0.000 s" in tree
    assert "● run_done  completed" in tree
    without_request, with_request = (text for line, text in said.items() if "--timeline" in line)
    for picture in (without_request, with_request):
        assert "→ s3" in picture
        assert "▶ s3  math" in picture
    assert "planning" not in without_request
    assert "planning" in with_request
    assert "Status   completed" in said[lines[-1]]
