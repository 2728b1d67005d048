"""kill -9 while a run is undone: it goes on in the right order, and what is undone stays so."""

from __future__ import annotations

import pytest
from support.asking import AWKWARD, call, effects, open_gate, steps_committed
from support.waiting import wait_until, wait_until_sync

from starlings.messages import RunOutcome

pytestmark = pytest.mark.kafka

ODD, UNDOABLE = f"{AWKWARD}:odd", f"{AWKWARD}:undoable"


def undoable(name: str, *depends_on: str, **told: object) -> dict[str, object]:
    return {"id": name, "agent": "undoable", "input": told, "depends_on": list(depends_on)}


FAILS = {**call("odd", "refuses", text="the room"), "depends_on": ["seat", "car"]}
PLAN = [
    undoable("flight"),
    undoable("seat", "flight", gate="open"),
    undoable("car", "flight"),
    FAILS,
]


def until(services, what: str, step: str, times: int = 1) -> None:
    wait_until_sync(
        lambda: sum(e.step_id == step for e in effects(services, what=what)) >= times,
        timeout_s=60,
        message=f"{step} {what} {times} times",
    )


async def committed(services, count: int) -> bool:
    return await steps_committed(services, "undoable") >= count


def undid(services) -> list[str]:
    return [effect.step_id for effect in effects(services, what="undid")]


async def test_an_agent_killed_while_it_undoes_is_followed_by_one_that_undoes(services):
    agent = services.start("coordinator", "planner", ODD, UNDOABLE)[-1]
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until(services, "undoing", "seat")
        await wait_until(  # three steps, and the undoing of the car
            lambda: committed(services, 4), timeout_s=60, message="the car's undoing is committed"
        )
        services.kill(agent)
        open_gate(services, "open")
        services.start(UNDOABLE)
        done = await run.result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPENSATED
    assert "the room is sold out" in done.error.message
    assert undid(services) == ["car", "seat", "flight"]  # the flight when nothing depends on it
    assert [[u.state for u in step.undone] for step in done.steps] == [
        ["undone"], ["undone"], ["undone"], []
    ]  # fmt: skip


async def test_a_coordinator_killed_while_a_run_is_undone_is_followed_by_one_that_goes_on(services):
    services.start("coordinator", "planner", ODD, UNDOABLE)
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until(services, "undoing", "seat")
        services.kill("coordinator")
        open_gate(services, "open")  # it is undone while nobody coordinates
        until(services, "undid", "seat")
        services.start("coordinator")
        done = await run.result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPENSATED
    assert sorted(undid(services)) == ["car", "flight", "seat"]
    assert undid(services)[-1] == "flight"


async def test_a_cancelled_run_is_undone_and_its_running_compensation_is_not_stopped(services):
    services.start("coordinator", "planner", ODD, UNDOABLE)
    async with services.client() as client:
        run = await client.submit(plan=PLAN)
        until(services, "undoing", "seat")
        await run.cancel("nobody wants it any more")
        until(services, "undid", "car")
        open_gate(services, "open")
        done = await run.result(timeout_s=60)

    assert done.outcome in (RunOutcome.COMPENSATED, RunOutcome.CANCELLED)
    assert sorted(undid(services)) == ["car", "flight", "seat"]
