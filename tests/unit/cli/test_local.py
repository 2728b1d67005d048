from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
HOSTILE = '''
from starlings import Agent, StepFailed

hostile = Agent("hostile", description="Says what should not be said to a terminal")


@hostile.tool
def paint() -> str:
    """Paints."""
    return "[bold red]markup[/] \\x1b[31mred\\x1b[0m \\x9b2J \\u202egnitirw"


@hostile.tool
def fail() -> str:
    """Fails."""
    raise StepFailed("no [b]chance[/b] \\x1b]0;owned\\x07")
'''


@pytest.fixture
def hostile(starlings) -> str:
    Path("hostile.py").write_text(HOSTILE)
    return "hostile.py:hostile"


def plan_of(*tools: str) -> str:
    return json.dumps([{"agent": "hostile", "tool": tool, "args": {}} for tool in tools])


def test_words_become_a_plan_and_a_result_without_a_broker(starlings):
    assert starlings("run", "--local", "Calculate 5 factorial") == 0
    assert "Plan  1 step" in starlings.stdout
    assert "✓ s1 math 120" in starlings.stdout
    assert "Result  completed" in starlings.stdout
    assert "final: 120" in starlings.stdout
    assert "no model is configured" in starlings.stderr


def test_json_is_one_document_and_nothing_else(starlings):
    assert starlings("run", "--local", "Calculate 5 factorial", "--json", "--tag", "who=me") == 0
    document = starlings.document
    assert (document["status"], document["output"], document["tags"]) == (
        "completed",
        120,
        {"who": "me"},
    )
    assert [step["state"] for step in document["steps"]] == ["done"]


def test_a_plan_of_ones_own_asks_no_model(starlings):
    spec = f"{EXAMPLES / 'shop.py'}:shop"
    argv = ["run", "--local", "--plan", str(EXAMPLES / "shop.yaml"), "--agents", spec]
    assert starlings(*argv) == 0
    assert re.search("final: 12 . feather ordered", starlings.stdout)
    assert starlings.stderr == ""


def test_how_often_a_run_may_be_planned_anew_is_said_with_an_option(starlings, hostile):
    policy = ["--on-failure", "replan", "--max-replans", "0"]
    argv = ["run", "--local", "--plan", "-", "--agents", hostile, *policy, "--json"]
    assert starlings(*argv, stdin=plan_of("fail")) == 1
    document = starlings.document
    assert document["status"] == "failed"
    assert "no chance" in document["error"]["message"].replace("[b]", "").replace("[/b]", "")
    assert "no other plan" not in document["error"]["message"]  # nobody was asked for one


def test_what_cannot_be_planned_ends_with_3(starlings):
    assert starlings("run", "--local", "dance a waltz") == 3
    assert "Result  rejected" in starlings.stdout
    assert "OPENAI_API_KEY" in starlings.stdout


def test_a_plan_with_unknown_agents_ends_with_3_and_every_problem(starlings):
    plan = json.dumps([{"agent": "nobody", "task": "x"}, {"agent": "noone", "task": "y"}])
    assert starlings("run", "--local", "--plan", "-", stdin=plan) == 3
    assert "nobody" in starlings.stdout
    assert "noone" in starlings.stdout


def test_a_run_that_fails_ends_with_1(starlings, hostile):
    argv = ["run", "--local", "--agents", hostile, "--plan", "-"]
    assert starlings(*argv, stdin=plan_of("fail")) == 1
    assert "Result  failed" in starlings.stdout


def test_a_run_that_completes_in_part_ends_with_1(starlings, hostile):
    argv = ["run", "--local", "--agents", hostile, "--on-failure", "continue", "--plan", "-"]
    assert starlings(*argv, stdin=plan_of("paint", "fail")) == 1
    assert "Result  partial" in starlings.stdout


def test_a_run_that_takes_longer_than_it_may_ends_with_5(starlings):
    Path("slow.py").write_text(
        "import asyncio\nfrom starlings import Agent\n"
        'slow = Agent("slow", description="Waits")\n'
        "@slow.tool\nasync def wait() -> None:\n"
        '    """Waits."""\n    await asyncio.sleep(60)\n'
    )
    plan = json.dumps([{"agent": "slow", "tool": "wait", "args": {}}])
    argv = ["run", "--local", "--agents", "slow.py:slow", "--timeout", "200ms", "--plan", "-"]
    assert starlings(*argv, stdin=plan) == 5
    assert "give it more time" in starlings.stdout
    assert starlings(*argv[:-4], "--wait", "200ms", "--plan", "-", stdin=plan) == 5
    assert "the time to wait is over" in starlings.stderr


def test_what_steps_write_cannot_steer_a_terminal(starlings, hostile):
    for more in ([], ["--json"]):
        argv = ["run", "--local", "--agents", hostile, "--on-failure", "continue", *more]
        assert starlings(*argv, "--plan", "-", stdin=plan_of("paint", "fail")) == 1
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", starlings.stdout)
        assert "[bold red]markup[/]" in starlings.stdout
    assert starlings.document["steps"][0]["output"].endswith("\x9b2J \u202egnitirw")


def test_a_planned_request_can_be_kept_validated_and_run(starlings):
    assert starlings("plan", "--local", "--yaml", "Calculate 5 factorial") == 0
    Path("plan.yaml").write_text(starlings.stdout)
    assert starlings("validate", "--builtin", "plan.yaml") == 0
    assert starlings("run", "--local", "--plan", "plan.yaml") == 0
    assert "final: 120" in starlings.stdout


def test_plan_prints_a_tree_or_json_and_runs_nothing(starlings):
    assert starlings("plan", "--local", "Calculate 5 factorial") == 0
    assert "└── s1  math  Calculate 5 factorial" in starlings.stdout
    assert starlings("plan", "--local", "--json", "Calculate 5 factorial") == 0
    assert starlings.document["steps"][0]["agent"] == "math"
    assert starlings("plan", "--local", "--json", "dance a waltz") == 3
    assert starlings.document["problems"][0]["code"] == "cannot_plan"


def test_the_plan_in_the_docs_works_as_it_stands(starlings):
    page = DOCS.read_text(encoding="utf-8")
    waiting, plan = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert starlings("run", "--local", "--plan", "-", stdin=plan) == 0
    assert "final: 100" in starlings.stdout
    assert starlings("validate", "-", stdin=waiting) == 0


def test_an_agent_that_cannot_be_loaded_is_named(starlings):
    assert starlings("run", "--local", "x", "--agents", "nowhere:agent") == 2
    assert "nowhere" in starlings.stderr


def test_a_budget_is_given_by_its_limits_and_a_misspelt_one_is_refused(starlings):
    assert starlings("run", "--local", "Calculate 5 factorial", "--budget", "tokens=0") == 3
    assert "the budget is 0: no step could be done with that" in starlings.stdout
    assert starlings("run", "--local", "Calculate 5 factorial", "--budget", "token=5") == 2
    assert "--budget knows no 'token', but tokens, cost_usd, wall_time_s" in starlings.stderr
    assert starlings("run", "--local", "Calculate 5 factorial", "--budget", "tokens=5") == 0
