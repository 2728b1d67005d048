"""The example of free choreography, in one process."""

from __future__ import annotations

from pathlib import Path

from starlings import LocalChoreography
from starlings.agents.loading import load_agents

TICKETS = Path(__file__).parents[2] / "examples" / "support_tickets" / "tickets.py"


async def chain_of(text: str) -> list[str]:
    agents = load_agents(str(TICKETS))
    ticket = {"number": 7, "customer": "Ada", "text": text}
    chain = await LocalChoreography(agents).emit("ticket_created", ticket)
    assert not chain.failed
    assert "Dear Ada, ticket 7 is solved" in chain.events[-1].value.decode()
    return [event.type for event in chain.events]


async def test_what_support_knows_goes_straight_to_the_customer():
    said = await chain_of("I forgot my password")
    assert said == ["ticket_created", "ticket_solved", "customer_notified"]


async def test_what_support_does_not_know_is_repaired_first():
    said = await chain_of("my screen is black")
    assert said == ["ticket_created", "repair_needed", "ticket_solved", "customer_notified"]


def test_user_code_is_short():
    assert len(TICKETS.read_text().splitlines()) < 80
    names = [agent.name for agent in load_agents(str(TICKETS))]
    assert names == ["support", "technical", "notification"]
