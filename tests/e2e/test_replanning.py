"""Runs that are planned anew while they run: by hand, and because a step has failed."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from support.asking import AWKWARD, SLOW, call, effects, facts_of, slow
from support.waiting import wait_until

from starlings.client import RunNotFound
from starlings.messages import (
    AmendmentProposed,
    AmendmentRejected,
    CommandRefused,
    FailurePolicy,
    PlanAmended,
    RunOutcome,
)

pytestmark = pytest.mark.kafka

WITHIN_S = 60.0
ODD, UNDOABLE = f"{AWKWARD}:odd", f"{AWKWARD}:undoable"
GO = {"id": "go", "signal": {"name": "go"}, "depends_on": ["seat"]}


@pytest.fixture(scope="module", autouse=True)
def started(system):
    """What all tests of this file need."""
    system.start("coordinator", "planner", SLOW, ODD, UNDOABLE)


@pytest.fixture
async def client(system):
    async with system.client() as client:
        yield client


def undoable(name: str, *depends_on: str) -> dict[str, object]:
    return {"id": name, "agent": "undoable", "input": {}, "depends_on": list(depends_on)}


async def has_come_to(run, step: str, phase: str) -> bool:
    try:
        view = await run.view()
    except RunNotFound:  # its plan is not in the log yet
        return False
    return view.run is not None and view.run.steps[step].phase.value == phase


async def test_what_a_person_wants_done_again_is_undone_first_and_nothing_else_is(client, system):
    plan = [undoable("flight"), undoable("seat", "flight"), slow("note"), GO]
    run = await client.submit(plan=plan)
    await wait_until(
        lambda: has_come_to(run, "go", "asking"), timeout_s=WITHIN_S, message="has come to"
    )

    await run.replan("do seat again", requested_by="Ann")
    await wait_until(lambda: amended(client, run), timeout_s=WITHIN_S, message="amended")
    await wait_until(
        lambda: has_come_to(run, "go", "asking"), timeout_s=WITHIN_S, message="has come to"
    )
    await run.signal("go", "went")
    done = await run.result(timeout_s=WITHIN_S)

    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "went")
    assert {s.step_id: s.attempts for s in done.steps if s.step_id != "go"} == {
        "flight": 1,
        "seat": 2,
        "note": 1,
    }
    mine = [e for e in effects(system) if e.run_id == run.run_id and e.step_id == "seat"]
    assert [(e.what, e.attempt) for e in mine] == [
        ("did", 1),
        ("undoing", 1),
        ("undid", 1),
        ("did", 2),
    ]


async def amended(client, run) -> bool:
    return bool(await facts_of(client, run.run_id, PlanAmended))


async def test_the_command_line_has_a_run_planned_anew_and_shows_what_became_of_it(client, system):
    plan = [undoable("seat"), GO, slow("late", "go"), slow("end", "go", returns="end")]
    run = await client.submit(plan=plan)
    await wait_until(
        lambda: has_come_to(run, "go", "asking"), timeout_s=WITHIN_S, message="has come to"
    )

    said = await starlings(system, "replan", run.run_id, "without late")
    await wait_until(lambda: amended(client, run), timeout_s=WITHIN_S, message="amended")
    refused = await starlings(system, "replan", run.run_id, "paint my house")
    await wait_until(lambda: rejected(client, run), timeout_s=WITHIN_S, message="rejected")
    await run.signal("go")
    done = await run.result(timeout_s=WITHIN_S)
    shown = await starlings(system, "show", run.run_id)

    assert "is being planned anew" in said
    assert "is being planned anew" in refused
    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "end")
    assert "amended, planned anew (1): removes late: without late" in shown
    assert "not amended, planned anew (2)" in shown
    with pytest.raises(CommandRefused, match="has ended"):
        await run.replan("too late")


async def starlings(system, *argv: str) -> str:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starlings.cli", *argv),
        env={**system.env, "COLUMNS": "200"},
        cwd=system.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(WITHIN_S):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()


async def rejected(client, run) -> bool:
    return bool(await facts_of(client, run.run_id, AmendmentRejected))


async def test_a_step_that_fails_is_planned_anew_so_often_and_then_the_run_is_undone(client):
    fails = {**call("odd", "refuses", text="the room"), "depends_on": ["flight"]}
    run = await client.submit(
        plan=[undoable("flight"), fails], on_failure=FailurePolicy.REPLAN, max_replans=1
    )

    done = await run.result(timeout_s=WITHIN_S)

    assert done.outcome is RunOutcome.COMPENSATED
    assert {s.step_id: s.attempts for s in done.steps} == {"flight": 1, "refuses": 2}
    (proposed,) = await facts_of(client, run.run_id, AmendmentProposed)
    assert proposed.amendment is not None
    assert proposed.amendment.invalidate == ["refuses"]
    assert proposed.prompt is not None
    assert proposed.prompt.startswith("replanner/2:")
