"""A manager and its workers: the manager splits a trip, hands out the parts, and sums them up."""

from __future__ import annotations

from pydantic import BaseModel, Field

from starlings import Agent, Result, StepContext, StepFailed
from starlings.messages import Amendment, Step

manager = Agent("travel_manager", description="Plans trips: hands out the parts of the work")
flights = Agent("flight_search", description="Finds flights")
hotels = Agent("hotel_search", description="Finds rooms")
desk = Agent("travel_desk", description="Writes to travellers")

FLIGHTS = {("Oslo", "Paris"): [("08:10", 120.0), ("13:45", 95.0)]}
ROOMS = {"Paris": [("Hôtel des Oiseaux", 110.0), ("Pension Étourneau", 74.0)]}


class Flight(BaseModel):
    """A flight that is wanted."""

    origin: str
    to: str
    day: str


class Stay(BaseModel):
    """A room that is wanted."""

    city: str
    nights: int = Field(ge=1)
    most_per_night: float | None = None


class Parts(BaseModel):
    """What the workers get; null for what the traveller does not need."""

    flight: Flight | None
    stay: Stay | None


@manager.step
async def split(task: str, ctx: StepContext) -> Result:
    """Split the trip: the workers' steps are added to this very run."""
    parts = await ctx.model.value(task, Parts, instructions="You split a trip into its parts.")
    names = {"flight": "flight_search", "stay": "hotel_search"}
    wanted = parts.model_dump(exclude_none=True)
    work = [Step(id=part, agent=names[part], input=given) for part, given in wanted.items()]
    return Result(list(wanted), amend=Amendment(add=work, reason="the parts of the trip"))


@flights.step
def find_flight(flight: Flight) -> Result:
    """Find the cheapest one."""
    offers = FLIGHTS.get((flight.origin, flight.to))
    if not offers:
        raise StepFailed(f"nobody flies from {flight.origin} to {flight.to}", code="no_flight")
    at, price = min(offers, key=lambda offer: offer[1])
    said = f"{flight.origin} to {flight.to} on {flight.day} at {at} for {price:g} EUR"
    return Result({"at": at, "price": price}, summary=said)


@hotels.step
def find_room(stay: Stay) -> Result:
    """Find the best one that is not too dear."""
    most = stay.most_per_night or float("inf")
    fits = [room for room in ROOMS.get(stay.city, []) if room[1] <= most]
    if not fits:
        raise StepFailed(f"there is no such room in {stay.city}", code="no_room")
    name, price = max(fits, key=lambda room: room[1])
    said = f"{name}, {stay.nights} nights for {price * stay.nights:g} EUR"
    return Result({"name": name, "total": price * stay.nights}, summary=said)


@desk.step
async def write(task: str, ctx: StepContext) -> str:
    """Sum up what the workers have found."""
    return await ctx.model.text(task, instructions="You write short, friendly travel summaries.")
