"""The desk of a library: answers with what the read side of the knowledge base has found."""

from __future__ import annotations

from pydantic import BaseModel

from starlings import Agent, Result

desk = Agent("desk", description="Answers with passages of the library, and says where they stand")


class Passage(BaseModel):
    """What was found."""

    title: str
    source: str
    text: str


class Lag(BaseModel):
    """How many words the read side has not heard yet; None: Kafka did not say."""

    behind: int | None


class Found(BaseModel):
    """The output of `knowledge_query`."""

    passages: list[Passage]
    lag: Lag


@desk.step
def answer(found: Found) -> Result:
    """Quote the best passage, and be honest about how fresh it is."""
    if not found.passages:
        return Result("The library knows nothing about that.", summary="nothing found")
    best = found.passages[0]
    fresh = "" if found.lag.behind == 0 else " (there may be newer ones)"
    return Result(f"{best.text} [{best.title}, {best.source}]{fresh}")
