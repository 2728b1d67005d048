"""`pytest --incident`: incidents become tests, and nobody else's tests notice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.incident_files import golden_incident

pytest_plugins = ["pytester"]

AGENTS = """
    from starlings import Agent, StepContext

    math, string = (Agent(name, description="Says it") for name in ("math", "string"))

    @math.step
    async def calculate(ctx: StepContext) -> int:
        return {"s1": 50, "s3": %d}[ctx.step_id]

    @string.step
    async def count(ctx: StepContext) -> int:
        return 2
"""


@pytest.fixture
async def incident(tmp_path):
    return await golden_incident(tmp_path)


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest in a project of its own."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    # named by -c: pytest looks for it beside its arguments, and incidents lie elsewhere
    ini = pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(test_mine="def test_mine(): pass", ours=AGENTS % 100, wrong=AGENTS % 101)
    return lambda *argv: pytester.runpytest_inprocess("-v", f"-c{ini}", *map(str, argv))


def test_an_incident_alone_is_a_test_of_its_decisions(run, incident):
    ended = run("--incident", incident)
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines(["*demo::decisions PASSED*"])


def test_with_agents_each_attempt_of_theirs_is_a_test(run, incident):
    run("--incident", incident, "--incident-agent", "ours").assert_outcomes(passed=4)
    one = run("--incident", incident, "--incident-agent", "ours:math", "test_mine.py")
    one.assert_outcomes(passed=4)
    one.stdout.fnmatch_lines(["test_mine.py::test_mine PASSED*"])


def test_what_is_otherwise_is_shown_without_our_own_traceback(run, incident):
    ended = run("--incident", incident, "--incident-agent", "wrong:math", "-k", "s3")
    ended.assert_outcomes(failed=1, deselected=2)
    ended.stdout.fnmatch_lines(
        ["*attempt s3/1 of run demo (agent math) comes to*", "*-100", "*+101"]
    )
    assert "Traceback" not in ended.stdout.str()
    assert "incident.py:" not in ended.stdout.str()


def test_what_cannot_be_replayed_is_said_before_anything_runs(run, incident):
    for argv, said in (
        (["--incident", "none.jsonl"], "*there is no file*none.jsonl*"),
        (["--incident-agent", "ours"], "*--incident-agent needs an --incident*"),
        (["--incident", incident, "--incident-agent", "nobody:x"], "*there is no module 'nobody'*"),
    ):
        ended = run(*argv)
        assert ended.ret != 0
        (ended.stderr if "file" in said or "needs" in said else ended.stdout).fnmatch_lines([said])
    lines = incident.read_text().splitlines()
    header = {**json.loads(lines[0]), "starlings_incident": 2}
    incident.write_text("\n".join([json.dumps(header), *lines[1:], ""]))
    run("--incident", incident).stdout.fnmatch_lines(["*is an incident of version 2*"])


def test_the_plugin_imports_nothing_of_starlings_until_an_incident_is_asked_for():
    code = (
        "import sys, starlings.testing.pytest_plugin;"
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('aiokafka', 'pydantic', 'openai', 'httpx', 'structlog', 'asyncio')"
        " or m.startswith('starlings.') and not m.startswith('starlings.testing')"
        " and m != 'starlings.on_demand'])"
    )
    without_pytest = [sys.executable, "-c", f"import asyncio, pytest, sys\n{code}"]
    said = subprocess.run(without_pytest, capture_output=True, text=True, check=True, timeout=60)
    loaded = [name for name in json.loads(said.stdout.replace("'", '"')) if "asyncio" not in name]
    assert loaded == []


def test_the_tests_of_others_are_collected_as_ever(run):
    ended = run()
    ended.assert_outcomes(passed=1)
    assert "starlings" in ended.stdout.str().split("plugins:")[1].splitlines()[0]
