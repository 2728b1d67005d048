"""The example `travel_saga` as people run it: an airline and hotels that meet only on Kafka."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
import yaml
from support.pages import unwrapped

from starlings.messages import RunOutcome, StepOutcome

pytestmark = pytest.mark.kafka

EXAMPLE = Path(__file__).parents[2] / "examples" / "travel_saga"
PLAN = yaml.safe_load((EXAMPLE / "book_trip.yaml").read_text())


@pytest.fixture
def travel(services):
    """Start every part of it as a process of its own; tell where its bookings are."""
    bookings = services.folder / "bookings.db"
    agents = [f"{EXAMPLE / 'travel.py'}:{name}" for name in ("flights", "hotels")]
    services.start("coordinator", "planner", *agents, env={"TRAVEL_DB": str(bookings)})
    return bookings


def states(bookings: Path) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(bookings)) as db:
        return dict(db.execute("SELECT key, state FROM bookings").fetchall())


async def test_a_full_hotel_cancels_the_flight_and_the_story_tells_why(services, travel, starlings):
    async with services.client() as client:
        run = await client.submit(PLAN["request"], plan=PLAN["plan"], run_id="trip")
        facts = [received.message async for received in run.records()]
        done = facts[-1]

    assert done.outcome is RunOutcome.COMPENSATED
    assert done.error.message == "step 'hotel' failed: the hotel Grand is full"
    assert [u.state for u in done.steps[0].undone] == ["undone"]
    assert states(travel) == {"trip/flight/1": "cancelled"}
    (undone,) = [fact for fact in facts if fact.NAME == "compensation_done"]
    assert (undone.agent, undone.step_id, undone.outcome) == ("flights", "flight", StepOutcome.OK)
    assert undone.summary == "Oslo to Lisbon cancelled"

    shown = unwrapped((await starlings("show", "trip")).stdout)
    assert "↩ flight flights undone: step 'hotel' failed: the hotel Grand is full" in shown
    assert "trip" in (await starlings("runs", "--status", "compensated")).stdout


async def test_with_a_room_left_nothing_is_undone(services, travel):
    flight, hotel = PLAN["plan"]
    plan = [flight, {**hotel, "input": {"hotel": "Pension"}}]
    async with services.client() as client:
        run = await client.submit("a trip", plan=plan, run_id="stay")
        done = await run.result(timeout_s=60)

    assert done.outcome is RunOutcome.COMPLETED
    assert states(travel) == {"stay/flight/1": "booked", "stay/hotel/1": "booked"}
