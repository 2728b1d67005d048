from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from starlings.cli.app import app

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
RUNS = ["run", "emit", "runs", "show", "watch", "output", "cancel", "plan", "validate"]
WORDS = ["pause", "resume", "replan", "retry", "signal", "approve", "reject", "answer"]
TOP = [
    "demo",
    "dev",
    *RUNS,
    *WORDS,
    "agents",
    "agent",
    "new",
    "topics",
    "events",
    "group",
    "replay",
    "incident",
    "diff",
    "dlq",
    "broker",
    "doctor",
]
NESTED = {
    "agent": ["run", "try"],
    "new": ["agent"],
    "topics": ["ensure", "check", "ls", "acls", "grow"],
    "events": ["tail", "ls", "show", "export", "import"],
    "group": ["show", "rewind"],
    "replay": ["shadow", "step", "travel", "verify", "fork"],
    "dlq": ["ls", "show", "redrive", "discard"],
    "broker": ["up", "down", "status", "logs", "reset"],
}
COMMANDS = [[name] for name in TOP] + [[g, name] for g, names in NESTED.items() for name in names]
HEAVY = ("aiokafka", "openai", "pydantic", "httpx", "structlog", "obstore", "rich.console")


def test_these_are_all_the_commands_there_are():
    root = typer.main.get_command(app)
    assert sorted(root.commands) == sorted(TOP)
    for group, names in NESTED.items():
        assert sorted(root.commands[group].commands) == sorted(names)


@pytest.mark.parametrize("path", [[], *COMMANDS], ids=" ".join)
def test_help_says_what_a_command_does_and_what_its_exit_codes_mean(starlings, path):
    assert starlings(*path, "--help") == 0
    said = " ".join(re.sub(r"[│╭╰─╮╯]", " ", starlings.stdout).split())
    assert "Exit codes: 0 fine" in said
    assert "3 the plan was rejected" in said
    assert "Usage: starlings" in said


def test_every_command_that_prints_data_offers_json(starlings):
    without = [["demo"], ["dev"], ["agent", "run"], ["new", "agent"], ["broker", "logs"]]
    for path in COMMANDS:
        if path in without or (path[0] in NESTED and len(path) == 1):
            continue
        starlings(*path, "--help")
        assert "--json" in starlings.stdout, path


def test_help_loads_nothing_heavy_so_that_it_comes_at_once():
    code = f"import sys, starlings.cli.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_about_the_command_line_names_every_command_and_exit_code():
    page = DOCS.read_text(encoding="utf-8")
    for name in TOP:
        assert f"| `{name}" in page, name
    for code in (0, 1, 2, 3, 4, 5, 70, 130, 141):
        assert f"| {code} |" in page


@pytest.mark.parametrize(
    "argv",
    [
        ["dev", "--all", "--no-builtin"],
        ["run"],
        ["run", "x", "--timeout", "soon"],
        ["run", "x", "--timeout", "0"],
        ["run", "x", "--deadline", "tomorrow"],
        ["run", "x", "--tag", "nothing"],
        ["run", "x", "--on-failure", "panic"],
        ["run", "x", "--max-parallel", "0"],
        ["run", "x", "--max-replans", "-1"],
        ["run", "x", "--agents", "a:b"],
        ["run", "x", "--local", "--no-wait"],
        ["runs", "--since", "yesterday"],
        ["broker", "up", "--port", "70000"],
        ["events", "ls", "--since", "yesterday"],
        ["events", "ls", "--offsets", "9"],
        ["events", "show", "r", "--tree", "--timeline"],
        ["events", "show", "0/1", "--tree"],
        ["events", "export"],
        ["events", "import", "no-such-file"],
        ["dlq", "ls", "--state", "shut"],
        ["dlq", "redrive"],
        ["dlq", "redrive", "t/0/1", "--all"],
        ["dlq", "redrive", "t/0/1", "--code", "x"],
        ["dlq", "discard", "t/0/1"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_nothing_on_standard_output(starlings, argv):
    assert starlings(*argv) == 2
    assert starlings.stdout == ""
    assert starlings.stderr


def test_the_version_is_told(starlings):
    assert starlings("--version") == 0
    assert re.fullmatch(r"starlings \d+\.\d+.*\n", starlings.stdout)
