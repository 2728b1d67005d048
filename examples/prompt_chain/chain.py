"""A prompt chain: each step asks a model one thing, and what it says is the next one's input."""

from __future__ import annotations

from pydantic import BaseModel, Field

from starlings import Agent, Result, StepContext

strategist = Agent("strategist", description="Turns a wish into a goal that can be worked on")
author = Agent("author", description="Drafts short texts from notes")
reviewer = Agent("reviewer", description="Reviews a draft against the notes it was made from")


class Goal(BaseModel):
    """What is to be found out, and for whom."""

    query: str = Field(description="what to type into a search engine")
    question: str = Field(description="the question that the pages have to answer")
    audience: str


class Review(BaseModel):
    """What the reviewer thinks of a draft."""

    accepted: bool
    remarks: list[str] = Field(description="statements that the notes do not support")
    text: str = Field(description="the draft, mended")


@strategist.step
async def set_goal(task: str, ctx: StepContext) -> Result:
    """Say what has to be found out."""
    goal = await ctx.model.value(task, Goal, instructions="You turn a wish into a clear goal.")
    return Result(goal, summary=goal.question)


@author.step
async def draft(task: str, ctx: StepContext) -> str:
    """Write it down."""
    rules = "You write plainly, in at most 80 words. Use nothing but the results you are given."
    return await ctx.model.text(task, instructions=rules)


@reviewer.step
async def review(task: str, ctx: StepContext) -> Result:
    """Check it."""
    rules = "You check each statement of a draft against the notes, and mend what is not in them."
    review = await ctx.model.value(task, Review, instructions=rules)
    said = "accepted" if review.accepted else f"mended: {' '.join(review.remarks)}"
    return Result(review, summary=said)
