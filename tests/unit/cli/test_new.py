"""`starlings new agent`: what it refuses, and that it overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

FILES = [
    ".dockerignore",
    "Dockerfile",
    "README.md",
    "orders.py",
    "plan.yaml",
    "pyproject.toml",
    "test_orders.py",
    "values.yaml",
]


def test_a_new_agent_is_a_folder_and_what_to_do_next_is_said(starlings):
    assert starlings("new", "agent", "orders") == 0
    assert sorted(path.name for path in Path("orders").iterdir()) == FILES
    *_, go, check, trial, dev = starlings.stdout.splitlines()
    assert (go.strip(), check.strip(), dev.strip()) == ("cd orders", "pytest", "starlings dev .")
    assert trial.strip() == "starlings agent try . --input '{\"seats\": 2}'"


def test_it_may_stand_in_any_folder_beside_other_files(starlings):
    Path("repo/.git").mkdir(parents=True)
    Path("repo/LICENSE").write_text("mine")
    assert starlings("new", "agent", "orders", "--dir", "repo") == 0
    assert Path("repo/LICENSE").read_text() == "mine"
    assert "cd repo" in starlings.stdout
    assert starlings("new", "agent", "shipping", "--dir", "deep/er", "--kind", "react") == 0
    assert Path("deep/er/shipping.py").is_file()


def test_nothing_is_overwritten_and_nothing_is_written_beside_it(starlings):
    Path("orders").mkdir()
    Path("orders/README.md").write_text("mine")
    assert starlings("new", "agent", "orders") == 2
    assert "orders has README.md already, and nothing is overwritten" in starlings.stderr
    assert [path.name for path in Path("orders").iterdir()] == ["README.md"]
    assert starlings("new", "agent", "orders", "--dir", "orders/README.md") == 2
    assert "orders/README.md is a file" in starlings.stderr
    assert starlings("new", "agent", "orders", "--dir", "orders/README.md/deep") == 2
    assert "cannot be written" in starlings.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Order Desk", "take lower-case letters and digits"),
        ("Order Desk", "such as 'order-desk'"),
        ("7up", "such as 'up'"),
        ("bücher", "such as 'b-cher'"),
        ("../up", "such as 'up'"),
        ("a__b", "single '-' or '_' in between"),
        ("a-", "single '-' or '_' in between"),
        ("a.b", "such as 'a-b'"),
        ("", "take lower-case letters"),
        ("a" * 64, "63 characters at most"),
        ("math", "is an agent of starlings-agents, which is installed"),
        ("class", "is a word of Python"),
        ("json", "there is a Python module 'json' already"),
        ("pydantic", "there is a Python module 'pydantic' already"),
        ("conftest", "there is a Python module 'conftest' already"),
    ],
)
def test_a_name_that_cannot_be_used_is_explained_and_nothing_is_written(starlings, name, words):
    assert starlings("new", "agent", "--", name) == 2
    assert words in starlings.stderr
    assert starlings.stdout == ""
    assert list(Path().iterdir()) == []


def test_a_kind_that_there_is_not_is_refused(starlings):
    assert starlings("new", "agent", "orders", "--kind", "llama") == 2
    assert "react" in starlings.stderr


def test_an_agent_that_reacts_is_tried_with_an_event(starlings):
    assert starlings("new", "agent", "desk-of-orders", "--kind", "react", "--dir", "desk") == 0
    try_it = ("agent", "try", "desk")
    order = '{"number": 7, "item": "worm", "count": 9}'
    assert starlings(*try_it, "--event", "order_placed", "--input", order, "--json") == 0
    (_, refused), (handled,) = starlings.document["events"], starlings.document["handled"]
    assert refused == {"type": "order_refused", "value": {"number": 7, "why": "only 3 are there"}}
    assert handled["event_type"] == "order_placed"

    assert starlings(*try_it, "--event", "order_placed") == 1
    assert "number" in starlings.stdout
    assert starlings(*try_it, "--event", "order_lost") == 2
    assert "it listens to order_placed" in starlings.stderr
    assert starlings(*try_it, "--event", "order_placed", "--task", "x") == 2
    assert starlings(*try_it, "--task", "x") == 2
    assert "takes no steps; hand it an event: --event order_placed" in starlings.stderr
