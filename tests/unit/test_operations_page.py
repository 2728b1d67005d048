"""What docs/operations.md says is what the repository computes, and each alert has its runbook."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.sizing import (
    BEGIN,
    END,
    FIGURES,
    RATES,
    Assumptions,
    Costs,
    read_costs,
    size,
    table,
    write,
)

from starlings.messages import Topics
from starlings.messages.access import rights_of_coordinator, rights_of_planner

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALERTS = ROOT / "deploy" / "helm" / "starlings" / "templates" / "alerts.yaml"
STARLINGS = Topics()


def test_the_table_on_the_page_follows_from_the_figures_that_were_measured():
    costs = read_costs(FIGURES.read_text(encoding="utf-8"))
    on_page = PAGE.partition(BEGIN)[2].partition(END)[0]
    told = table(RATES, costs, Assumptions())
    assert on_page == told, "run `python -m benchmarks.sizing --write`"
    assert write(PAGE, told) == PAGE


def test_sizing_is_a_command_that_takes_rates_of_ones_own():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sizing", "--rate", "500", "--step-s", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "| 500 | 1 | 4 | 100 | 200 | 3 |" in done.stdout


def test_what_a_rate_takes_grows_with_it_and_never_falls_below_what_is_safe():
    costs = Costs(coordinator=0.001, agent=0.001, broker=0.0001)
    least, most = (size(rate, costs, Assumptions()) for rate in (1, 10_000))
    assert (least.coordinators, least.event_partitions, least.brokers) == (1, 4, 3)
    assert (most.coordinators, most.event_partitions) == (17, 34)
    assert (most.agents, most.step_partitions) == (100, 200)


def test_every_alert_of_the_chart_has_a_section_that_says_what_to_do():
    alerts = re.findall(r'\(list "(Starlings\w+)"', ALERTS.read_text(encoding="utf-8"))
    assert len(alerts) >= 10
    sections = re.findall(r"^### (Starlings\w+)\n\n(.+)$", PAGE, re.MULTILINE)
    assert [name for name, _ in sections] == alerts
    assert all(len(said) > 80 for _, said in sections)


@pytest.mark.parametrize(
    ("service", "rights"),
    [("planner", rights_of_planner(STARLINGS)), ("coordinator", rights_of_coordinator(STARLINGS))],
)
def test_the_rights_on_the_page_are_those_that_the_tests_run_with(service, rights):
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {service} |"))
    for right in rights:
        short = right.name.removeprefix(STARLINGS.prefix)
        for operation in right.operations:
            if short and operation.value in ("READ", "WRITE") and right.resource.value == "topic":
                assert re.search(rf"{operation.value}[^;|]*`{re.escape(short)}", row), (right, row)


def test_the_rights_of_a_program_can_be_given_to_kafka_acls(starlings):
    assert starlings("topics", "acls", "planner", "math.large", "--principal", "User:p") == 0
    lines = starlings.stdout.splitlines()
    assert (
        "--add --allow-principal User:p --topic starlings.steps.math.large "
        "--resource-pattern-type literal --operation READ"
    ) in lines
    assert all(line.startswith("--add --allow-principal User:p --") for line in lines)
    assert starlings("topics", "acls", "--json") == 0
    assert sorted(starlings.document) == [
        "client",
        "coordinator",
        "operator",
        "planner",
        "watcher",
    ]
