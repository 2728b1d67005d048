"""Events, and agents that react to them."""

from __future__ import annotations

from pydantic import BaseModel

from starlings import Agent, Event


class Opened(Event, name="ticket_opened"):
    text: str


class Answered(Event):
    text: str


class Closed(BaseModel):
    text: str = ""


class HTTPServerFound(BaseModel):
    pass


def agent(name: str = "a") -> Agent:
    return Agent(name, description="Reacts")


async def reacts(event: Opened) -> Answered | None:
    return Answered(text=event.text)
