"""An author that reflects: it drafts, a critic reviews, it revises, until the critic accepts."""

from __future__ import annotations

from starlings import Agent, Reflection, Result, StepContext

author = Agent(
    "author",
    description="Writes short texts for the notice board of a nature reserve",
    strategy=Reflection(rounds=3, criteria="Every number has to stand in the facts."),
)
archive = Agent("archive", description="Knows the facts of the reserve")
board = Agent("board", description="The notice board, and the desk of its editor")

FACTS = [
    "Starlings gather over the reed bed from October to March, half an hour before dusk.",
    "The count of last winter: 28,000 birds.",
    "Dogs stay on the lead; the path along the dyke is closed after dark.",
]


@archive.tool(idempotent=True)
def facts() -> list[str]:
    """Tells what is known."""
    return FACTS


@board.tool
def put_up(text: str, ctx: StepContext) -> Result:
    """Puts a text on the notice board."""
    ctx.log.info("on the board", words=len(text.split()))
    return Result(text, summary="on the board")


@board.tool
def ask_editor(points: list[str]) -> Result:
    """Asks the editor to see to a text that was not accepted."""
    return Result(points, summary=f"for the editor: {'; '.join(points)}")
