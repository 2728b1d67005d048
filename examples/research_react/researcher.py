"""A researcher: model and tools in turns; what it looks at next depends on what it has found."""

from __future__ import annotations

from starlings import Agent, ReAct, StepFailed
from starlings_agents.web_search.tools import extract, search

researcher = Agent(
    "researcher",
    description="Answers questions that take several looks at the web, and some arithmetic",
    strategy=ReAct(max_turns=8),
    instructions="Name the address of the page behind each statement.",
)

researcher.tool(idempotent=True)(search)  # a tool is a function: those of others serve as well
researcher.tool(idempotent=True)(extract)


@researcher.tool(idempotent=True)
def divide(a: float, b: float) -> float:
    """Divides a by b."""
    if b == 0:
        raise StepFailed("nothing can be divided by 0")
    return a / b
