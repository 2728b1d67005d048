"""Two agents that book, and know how to undo it: an airline with seats, hotels with few rooms."""

from __future__ import annotations

import office
from pydantic import BaseModel

from starlings import Agent, Result, StepContext, StepFailed

ROOMS = {"Grand": 0, "Pension": 100_000}

flights = Agent("flights", description="Books and cancels flights")
hotels = Agent("hotels", description="Books and cancels hotel rooms")


class Flight(BaseModel):
    """What to book of an airline."""

    origin: str
    to: str


class Stay(BaseModel):
    """What to book of a hotel."""

    hotel: str
    nights: int = 1


class Booking(BaseModel):
    """What was booked, under which key."""

    key: str
    what: str


def booked(key: str, what: str) -> Result:
    """Return a booking with words for people."""
    return Result(Booking(key=key, what=what), summary=f"{what} booked")


@flights.step
def book_flight(flight: Flight, ctx: StepContext) -> Result:
    """Book a seat."""
    route = f"{flight.origin} to {flight.to}"
    if not office.book(ctx.idempotency_key, route, places=100_000):
        raise StepFailed(f"there is no seat from {route}", code="sold_out")
    return booked(ctx.idempotency_key, route)


@hotels.step
def book_room(stay: Stay, ctx: StepContext) -> Result:
    """Book a room."""
    if not office.book(ctx.idempotency_key, stay.hotel, places=ROOMS.get(stay.hotel, 0)):
        raise StepFailed(f"the hotel {stay.hotel} is full", code="full")
    return booked(ctx.idempotency_key, f"{stay.nights} nights at the {stay.hotel}")


@flights.compensate
@hotels.compensate
def cancel(booking: Booking, ctx: StepContext) -> str:
    """Cancel what was booked: a flight or a room."""
    office.cancel(booking.key)
    ctx.log.info("cancelled", booking=booking.what, why=ctx.reason)
    return f"{booking.what} cancelled"
