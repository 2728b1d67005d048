from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"
GOOD = "steps:\n  - {id: a, agent: math, task: add 1 and 2}\n"
BAD = """
steps:
  - {id: a, agent: math, task: add 1 and 2, depends_on: [b]}
  - {id: b, agent: math, task: "", depends_on: [a]}
  - {id: c, agent: nobody, task: x, depends_on: [ghost]}
"""


def test_a_good_plan_is_fine(starlings):
    Path("plan.yaml").write_text(GOOD)
    assert starlings("validate", "plan.yaml") == 0
    assert starlings.stdout == "plan.yaml: fine, 1 step (agents not checked)\n"


def test_all_problems_are_told_at_once(starlings):
    Path("plan.yaml").write_text(BAD)
    assert starlings("validate", "plan.yaml", "--builtin") == 1
    lines = starlings.stdout.splitlines()
    assert lines[0] == "plan.yaml: 4 problems"
    said = "\n".join(lines[1:])
    for words in ("ghost", "nobody", "wait for each other", "'b': task"):
        assert words in said


def test_json_is_one_document_with_every_problem(starlings):
    Path("plan.yaml").write_text(BAD)
    assert starlings("validate", "plan.yaml", "--builtin", "--json") == 1
    document = starlings.document
    assert document["ok"] is False
    assert {p["code"] for p in document["problems"]} >= {"cycle", "empty_task", "unknown_agent"}
    assert all(p["remedy"] for p in document["problems"])
    assert "math" in document["agents_checked"]


def test_standard_input_and_json_do_as_well(starlings):
    plan = {"steps": [{"agent": "math", "task": "x"}, {"agent": "math", "task": "y"}]}
    assert starlings("validate", "-", stdin=json.dumps(plan)) == 0
    assert "2 steps" in starlings.stdout


def test_a_whole_request_may_be_in_the_file(starlings):
    text = json.dumps({"request": "please", "plan": [{"agent": "math", "task": "x"}]})
    assert starlings("validate", "-", stdin=text) == 0


def test_agents_of_ones_own_are_checked_against(starlings):
    spec = f"{EXAMPLES / 'shop.py'}:shop"
    assert starlings("validate", str(EXAMPLES / "shop.yaml"), "--agents", spec) == 0
    assert "agents: shop" in starlings.stdout


def test_dates_stay_text_because_a_plan_is_json(starlings):
    Path("plan.yaml").write_text("steps:\n  - {agent: math, task: x, input: 2026-01-01}\n")
    assert starlings("validate", "plan.yaml") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no plan"),
        ("just words", "holds no plan"),
        ("steps: [", "neither YAML nor JSON"),
        ("- !!python/object:os.system {}", "neither YAML nor JSON"),
        ("[" * 200_000 + "]" * 200_000, "nested deeper than 100 levels"),
        (b"steps: \xff\xfe", "not UTF-8"),
    ],
    ids=["empty", "words", "broken", "object", "deep", "bytes"],
)
def test_a_file_that_holds_no_plan_ends_with_2_and_one_line(starlings, text, said):
    assert starlings("validate", "-", stdin=text) == 2
    assert starlings.stdout == ""
    assert said in starlings.stderr
    assert starlings.stderr.count("\n") == 1


def test_a_missing_file_is_named(starlings):
    assert starlings("validate", "nowhere.yaml") == 2
    assert "nowhere.yaml cannot be read: No such file" in starlings.stderr


def test_aliases_that_unfold_without_end_are_refused(starlings):
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    bomb = "\n".join([*levels, "steps: *a8"])
    assert starlings("validate", "-", stdin=bomb) == 2
    assert "unfolds to more than" in starlings.stderr
    assert starlings("validate", "-", stdin="&a [*a]") == 2
