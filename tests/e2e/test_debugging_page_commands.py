"""The commands of `docs/debugging.md`, section by section, as they stand there.

All of them are typed beside one running system, since to start one takes longer than most of them.
The order counts: a shadow comes first, as long as there is little to put through it, and the group
that is rewound last, since its agent is stopped for that.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys

import pytest
from support.asking import call, steps_committed
from support.cli_process import CommandLine, Ended
from support.command_line import command_line
from support.doc_page import commands_of, section_of, typed_in

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = "debugging.md"
REQUEST = (
    "Calculate 10 times 5 and count words in 'Hello World', "
    "then multiply the word count by the calculation result"
)
PROGRAMS = {"starlings": "starlings.cli", "pytest": "pytest"}


@pytest.fixture(scope="module")
def running(system):
    """The system, with what the page's plans need."""
    system.start("coordinator", "planner", "math", "string")
    return system


@pytest.fixture
def type_section(running):
    """Type the commands of a section, each as a process of its own."""
    starlings = CommandLine(running)

    async def type_(title: str) -> list[Ended]:
        ended = []
        for program, *argv in commands_of(PAGE, title):
            if "--pdb" in argv:
                ended.append(await debugged(running, *argv))
            else:
                ended.append(await starlings(*argv, program=PROGRAMS[program]))
            assert ended[-1].code == 0, (argv, ended[-1].stdout, ended[-1].stderr)
        return ended

    return type_


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


async def multiplied(services, request: str = "please", **more: str) -> str:
    """Have 42 as a result; return the run's id."""
    async with services.client() as client:
        run = await client.submit(request, plan=[call("math", "multiply", a=6, b=7) | more])
        assert (await run.result(timeout_s=60)).output == 42
    return run.run_id


async def test_the_page_measures_a_candidate_as_it_says(running, type_section):
    await multiplied(running)
    first, report, _ = await type_section("Shadow")
    (steps,) = re.findall(r"(\d+) steps? of math: \1 same", first.stdout)
    assert f"{steps} same" in report.stdout
    assert (running.folder / "shadow.jsonl").read_text().count("\n") == int(steps)


async def test_the_page_replays_a_step_as_it_says(running, type_section):
    await multiplied(running, id="total")
    ended = await type_section("Replay a step")
    assert len(ended) == 7
    same = [each for each in ended if "the same came of it" in each.stdout]
    assert len(same) == 5
    assert len([each for each in same if "(Pdb)" in each.stdout]) == 1


async def test_the_page_writes_incidents_as_it_says(running, type_section):
    await multiplied(running, "for customer Ann")
    _, shared, decided, worked = await type_section("Incidents")
    assert "redacted-own-1" in shared.stdout
    assert "customer Ann" in (running.folder / "incident.jsonl").read_text()
    assert "customer redacted-own-1" in (running.folder / "shared.jsonl").read_text()
    assert "1 passed" in decided.stdout
    assert "2 passed" in worked.stdout


@pytest.fixture
def starlings(running, monkeypatch, tmp_path):
    """The command line in this process, beside the system."""
    for line in command_line(monkeypatch, tmp_path):
        for name, value in running.env.items():
            if name.startswith(("KAFKA_", "STARLINGS_")):
                monkeypatch.setenv(name, value)
        yield line


@pytest.fixture
def typed(starlings, running, monkeypatch):
    """Type a line, with what stands before its command; give what it says."""
    copy = f"copy-{running.topics.prefix}"

    def type_(line: str) -> str:
        words = shlex.split(line.replace("copy.", copy))
        while "=" in words[0]:
            monkeypatch.setenv(*words.pop(0).split("=", 1))
        code = starlings(*words[1:])
        assert code == 0, f"{line}\n{starlings.stdout}{starlings.stderr}"
        return starlings.stdout

    return type_


def test_the_page_looks_into_the_log_as_it_says(starlings, typed):
    assert starlings("run", REQUEST) == 0, starlings.stderr
    lines = [line for each in typed_in(section_of(PAGE, "Events")) for line in each.lines]
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


async def test_the_page_forks_a_run_and_compares_as_it_says(running, type_section):
    plan = [
        {"agent": "math", "task": "multiply 10 by 5"},
        {"agent": "string", "task": "Count the words in 'Hello World'"},
        {"agent": "math", "task": "multiply {{steps.s1.output}} by {{steps.s2.output}}"},
    ]
    plan[2]["depends_on"] = ["s1", "s2"]
    async with running.client() as client:
        run = await client.submit(plan=plan, run_id="sums")
        assert (await run.result(timeout_s=60)).output == 100
    looked, forked, shown, compared, document = await type_section("Fork and diff")
    assert "nothing was published" in looked.stdout
    assert "starlings diff" in forked.stderr
    assert "inherited" in shown.stdout
    assert "≠ s2" in compared.stdout
    assert [step["same"] for step in document.document["steps"]] == [True, False, False]


async def test_the_page_rewinds_a_group_as_it_says(running, type_section):
    await multiplied(running)
    running.stop("math")  # which commits what is done
    done = await steps_committed(running, "math")
    groups, math, looked, moved = (each.stdout for each in await type_section("Rewind a group"))
    assert "coordinator" in groups
    assert running.topics.agent_group("math") in math
    assert "again" in looked
    assert "tools that" in moved
    shown = await CommandLine(running)("group", "show", "math", "--json")
    assert shown.document["pending"] == done
