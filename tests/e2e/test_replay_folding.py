"""Recorded runs folded again on a running system: `replay verify`, as the page says."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from support import stubborn
from support.waiting import wait_until

from starlings.kafka.restore_point import read_report
from starlings.messages import StepSkipped

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[2] / "docs" / "debugging.md"
FENCE = re.compile(r"^```sh(?: exit=(\d+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
STUBBORN = f"{stubborn.__file__}:stubborn"
WITHIN_S = 90.0


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", "math", "string", STUBBORN)


def section(title: str) -> list[tuple[int, str]]:
    """Read the commands of a section of the page, each with its exit code."""
    text = PAGE.read_text(encoding="utf-8")
    (own,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return [(int(code or 0), line) for code, b in FENCE.findall(own) for line in b.splitlines()]


async def typed(env: dict[str, str], line: str) -> tuple[int, str]:
    """Type a line into a shell; return its exit code, and what it printed."""
    function = f'starlings() {{ "{sys.executable}" -m starlings.cli "$@"; }}\n'
    async with asyncio.timeout(WITHIN_S):
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", function + line),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await shell.communicate()
    assert shell.returncode is not None
    return shell.returncode, said.decode()


async def run_some(system: Any, *names: str) -> None:
    """Let runs come to their ends: one does all, one skips a step, one fails and is undone."""
    count = {"tool": "count_words", "args": {"text": "{{steps.s1.output}}"}}
    two = [
        {"id": "s1", "agent": "math", "tool": "multiply", "args": {"a": 10, "b": 5}},
        {"id": "s2", "agent": "string", **count, "depends_on": ["s1"]},
    ]
    maybe = [two[0], {**two[1], "when": {"value": "{{steps.s1.output}}", "less_than": 5}}]
    undone = [{"id": "s1", "agent": "stubborn", "input": {"fails": True}}]
    async with system.client() as client:
        for name in names:
            for kind, plan in (("all", two), ("skips", maybe), ("fails", undone)):
                run = await client.submit("so", plan={"steps": plan}, run_id=f"{name}-{kind}")
                await run.result(timeout_s=60)


async def reported(system: Any) -> bool:
    """Look whether the coordinator has said of each partition what its state is."""
    topics = system.topics
    async with system.client() as client:
        places = [TopicPartition(topics.events, n) for n in range(await count(client, topics))]
        commits = await client.connection.committed(topics.coordinator_group, places)
    return all(p in commits and read_report(commits[p].metadata) is not None for p in places)


async def count(client: Any, topics: Any) -> int:
    return len(await client.connection.partitions(topics.events))


async def test_three_ways_to_one_state_are_told_of_a_live_system(system):
    await run_some(system, "three")
    await wait_until(lambda: reported(system), timeout_s=60, message="reports of the state")
    ended, said = await typed(system.env, "starlings replay verify --rebuild --json")
    assert ended == 0, said
    found = json.loads(said)
    assert found["same"]
    assert all(each["report"] is not None for each in found["partitions"])
    ended, said = await typed(system.env, "starlings replay verify --rebuild --partition 99")
    assert ended == 2
    assert "has no partition 99" in said
    for wrong in ("--rebuild --all", "--all --partition 0"):
        assert (await typed(system.env, f"starlings replay verify {wrong}"))[0] == 2


async def test_what_the_page_says_of_verifying_is_so(system):
    await run_some(system, "page")
    await wait_until(lambda: reported(system), timeout_s=60, message="reports of the state")
    for code, line in section("Verify"):
        ended, said = await typed(system.env, line)
        assert ended == code, f"{line}\n{said}"


async def test_what_the_page_says_of_travelling_is_so(system):
    await run_some(system, "travelled")
    for code, line in section("Travel"):
        ended, said = await typed(system.env, line)
        assert ended == code, f"{line}\n{said}"
        assert "run_done" in said


async def test_runs_of_a_live_system_are_the_same_with_all_their_work(system):
    await run_some(system, "live")
    ended, said = await typed(system.env, "starlings replay verify --all --steps --json")
    assert ended == 0, said
    found = json.loads(said)
    assert found["same"]
    assert found["counts"]["runs"] >= 3
    assert found["counts"]["steps"] >= 4
    assert found["counts"]["decisions"] >= 4


async def test_a_decision_that_nobody_owed_is_found_on_the_live_log(system):
    await run_some(system, "forged")
    run_id = "forged-all"
    async with system.client() as client:
        fact = StepSkipped(run_id=run_id, step_id="s1", reason="so")
        await client.publish_fact(run_id, fact, f"{run_id}/s1/step_skipped")
    ended, said = await typed(system.env, f"starlings replay verify {run_id} --json")
    assert ended == 8, said
    (difference,) = json.loads(said)["differences"]
    assert difference["id"] == f"{run_id}/s1/step_skipped"
    assert "not owed" in difference["what"]
    assert (await typed(system.env, "starlings replay verify forged-skips"))[0] == 0


async def test_a_run_that_is_not_there_is_told(system):
    ended, said = await typed(system.env, "starlings replay verify nobody")
    assert ended == 1
    assert "nobody" in said
    assert "not judged" in said
