"""The examples as their READMEs tell them: the very commands, offline; then with a model server."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest
import yaml
from support.example_model import (
    EXAMPLES,
    ROOT,
    commands,
    example_model,
    offline,
    settings_with,
)
from support.pages import unwrapped

from starlings import LocalRun
from starlings.agents.loading import load_agents
from starlings_agents.knowledge import agent as knowledge
from starlings_agents.knowledge import knowledge_in_memory, query

#: What each command of an example's README prints, among the rest.
TOLD = {
    "debate": [
        [
            "Plan 1 step",
            "✓ decide panel Leave the birds in peace, cover the platforms below the roost",
            '"decided_by": "judge", "votes": 2, "reason": "It helps the travellers at once',
        ]
    ],
    "research_react": [
        [
            "✓ answer researcher It was 25 times as large: about 750,000 birds",
            "(http://127.0.0.1:8973/pages/size.html)",
            "4 model calls",
        ]
    ],
    "travel": [
        [
            "Plan 2 steps",
            '✓ manage travel_manager ["flight", "stay"]',
            "✓ flight flight_search Oslo to Paris on 2030-05-01 at 13:45 for 95 EUR",
            "✓ stay hotel_search Pension Étourneau, 3 nights for 222 EUR",
            "✓ summary travel_desk Off to Paris!",
        ]
    ],
    "write_review_edit": [
        [
            "✓ text author Stay for the dusk!",
            "» ask_editor board skipped: its condition does not hold",
            "✓ put_up board on the board",
            "28,000 were counted last winter",
            "4 model calls",
        ],
        [
            "✓ draft writer Stay for the dusk! From October to March a million starlings",
            "✓ review critic not accepted",
            "✓ text editor Stay for the dusk! From October to March the starlings",
            "28,000 were counted last winter",
            "3 model calls",
        ],
    ],
    "planner_waves": [
        [
            "Plan 3 steps ├── s1 math Calculate 5 factorial ├── s2 string count the words",
            "└── s3 weather get the weather in Rome ○",
            "✓ s1 math 120",
            "✓ s2 string 5",
            "✓ s3 weather Rome: Clear, 14 °C",
        ],
        [
            "Plan 3 steps └── s1 math Calculate 5 factorial └── s2 math multiply the result of s1",
            "✓ s3 math 750",
        ],
        ["├── s1 string", "└── s2 math", "(after s1, s2)", "final: 210"],
    ],
    "prompt_chain": [
        [
            "✓ goal strategist Why do starlings fly",
            "✓ search web_search found Why starlings fly in murmurations",
            "✓ synthesis web_search A falcon finds it hard",
            "✓ draft author On winter evenings",
            "✓ review reviewer mended: The biggest flock had 750,000 birds, not a million.",
            "the biggest crowd had 750,000",
        ]
    ],
    "warehouse_report": [
        [
            "'/state' is 'running'",
            "✓ revenue sql 5 rows",
            "✓ top sql 3 rows",
            "✓ report report The best countries of 2030-05-02, 4,731.60 together",
            "✓ tell notify posted to sales",
            "Slack shows: The best countries of 2030-05-02, 4,731.60 together - Norway: 1,875.00",
        ]
    ],
}
RECORDED = [name for name in TOLD if (EXAMPLES / name / "answers.jsonl").exists()]


def run(command: Sequence[str], env: dict[str, str] | None = None) -> str:
    """Run a command as people do; return what their terminal shows."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("STARLINGS_", "OPENAI_"))}
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**own, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, f"after a change of a prompt: make answers\n{ended.stdout}"
    return unwrapped(ended.stdout)


def in_root(word: str) -> str:
    """Name a file of an example from wherever a test runs."""
    return str(ROOT / word) if word.startswith("examples/") else word


def check_told(shown: str, told: Sequence[str]) -> None:
    missing = [words for words in (*told, "Result completed") if words not in shown]
    assert not missing, shown


@pytest.mark.parametrize("name", TOLD)
def test_an_example_does_offline_what_its_story_tells(name):
    typed = commands(name)
    assert len(typed) == len(TOLD[name])
    for command, told in zip(typed, TOLD[name], strict=True):
        check_told(run(command[1:]), told)


@pytest.mark.parametrize("name", RECORDED)
def test_an_example_does_the_same_with_a_model_server(name, starlings, monkeypatch):
    with example_model(name) as server, offline().outside():
        for setting, value in settings_with(server, name).items():
            monkeypatch.setenv(setting, value)
        for command, told in zip(commands(name), TOLD[name], strict=True):
            assert starlings(*(in_root(word) for word in command[3:])) == 0, starlings.stdout
            check_told(unwrapped(starlings.stdout), told)
        assert server.requests


def test_a_model_plans_for_all_the_specialists(starlings, monkeypatch):
    readme = (EXAMPLES / "planner_waves" / "README.md").read_text(encoding="utf-8")
    line = next(line for line in readme.splitlines() if "Find out on the web" in line)
    name = "planner_waves"
    with example_model(name) as server, offline().outside():
        for setting, value in settings_with(server, name).items():
            monkeypatch.setenv(setting, value)
        agents = str(EXAMPLES / name / "numerals.py")
        assert starlings("run", "--local", "--agents", agents, *shlex.split(line)) == 0
    told = ["Plan 4 steps", "web_search", "code", "numerals: CCIX", "Rome"]
    check_told(unwrapped(starlings.stdout), told)


async def test_the_library_reads_what_it_has_learned():
    agents = [knowledge, query, *load_agents(str(EXAMPLES / "knowledge_cqrs" / "library.py"))]
    answers = []
    with knowledge_in_memory():
        for name in ("learn", "ask"):
            plan = yaml.safe_load((EXAMPLES / "knowledge_cqrs" / f"{name}.yaml").read_text())[
                "plan"
            ]
            done = await LocalRun(plan, agents=agents)
            answers.append(done.output)
            assert f"final: {done.output}" in (EXAMPLES / "knowledge_cqrs/README.md").read_text()
    assert "thirty thousand" in answers[0]
    assert "No bird leads" in answers[1]


def test_what_runs_examples_offline_says_what_is_wrong_with_a_command():
    saga = "examples/travel_saga/travel.py"
    for words in ([], ["starlings", "run", "README.md"], ["starlings", "dev", saga]):
        ended = subprocess.run(
            [sys.executable, "examples/offline.py", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 1
        assert "examples/offline.py" in ended.stderr


def test_what_runs_examples_offline_stops_what_it_has_started():
    code = "import time; print('at work', flush=True); time.sleep(60)"
    command = [sys.executable, "examples/offline.py", sys.executable, "-c", code]
    own = subprocess.Popen(
        [*command, "examples/debate/panel.py"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with own:
        assert own.stdout is not None
        assert own.stdout.readline() == "at work\n"
        own.terminate()
        assert own.wait(30) == 128 + signal.SIGTERM
