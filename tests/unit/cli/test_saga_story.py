"""What the command line tells of a run whose steps are undone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples" / "travel_saga"
AGENTS = '''
from starlings import Agent, StepFailed

trips = Agent("trips", description="Books what cannot be undone")


@trips.tool
def book(place: str) -> str:
    """Books."""
    return f"{place} booked"


@trips.tool
def fail() -> str:
    """Fails."""
    raise StepFailed("no [b]room[/b]")


@trips.compensate
def cancel(booking: str) -> None:
    if booking.startswith("flight"):
        raise StepFailed("it has taken off \\x1b[31m", code="airborne")
'''
STEPS = [
    {"id": "flight", "agent": "trips", "tool": "book", "args": {"place": "flight"}},
    {"id": "car", "agent": "trips", "tool": "book", "args": {"place": "car"}},
    {"id": "hotel", "agent": "trips", "tool": "fail", "args": {}, "depends_on": ["flight", "car"]},
]


@pytest.fixture
def trips(starlings) -> str:
    Path("trips.py").write_text(AGENTS)
    Path("plan.json").write_text(json.dumps(STEPS))
    return "trips.py"


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_travel_example_tells_what_was_undone_and_why(starlings):
    run = ("run", "--local", "--agents", str(EXAMPLE / "travel.py"))
    assert starlings(*run, "--plan", str(EXAMPLE / "book_trip.yaml")) == 1
    assert "✓ flight flights Oslo to Lisbon booked" in starlings.stdout
    assert "✗ hotel hotels the hotel Grand is full" in starlings.stdout
    why = "step 'hotel' failed: the hotel Grand is full"
    assert f"↩ flight undone (flights): {why}" in starlings.stdout
    assert "Result compensated" in squeezed(starlings.stdout)


def test_what_could_not_be_undone_is_said_with_what_to_do_and_ends_with_a_code_of_its_own(
    starlings, trips
):
    assert starlings("run", "--local", "--agents", trips, "--plan", "plan.json") == 6
    said = squeezed(starlings.stdout)
    assert "✗ flight not undone (trips): it has taken off" in said
    assert "↩ car undone (trips): step 'hotel' failed: tool 'fail' failed: no [b]room[/b]" in said
    assert "Result compensation_failed" in said
    assert "flight is not undone: it has taken off" in said
    assert "`starlings retry local --compensation flight` tries again" in said
    assert "\x1b" not in starlings.stdout


def test_the_document_of_a_run_tells_every_undoing(starlings, trips):
    assert starlings("run", "--local", "--json", "--agents", trips, "--plan", "plan.json") == 6
    assert starlings.document["outcome"] == "compensation_failed"
    undone = {step["id"]: step["undone"] for step in starlings.document["steps"]}
    assert undone["hotel"] == []
    assert undone["car"] == [{"attempt": 1, "state": "undone", "tries": 1, "error": None}]
    assert undone["flight"][0]["state"] == "failed"
    assert undone["flight"][0]["error"]["code"] == "airborne"
