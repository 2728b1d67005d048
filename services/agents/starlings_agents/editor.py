"""The agent `editor`: revises a draft by what critics said of it, or by its task."""

from __future__ import annotations

from typing import Any, ClassVar

from starlings import Agent, Result, StepContext, Strategy
from starlings.agents.strategies.writing import revise
from starlings.choreography.context import shorten
from starlings.llm.prompt_file import packaged_prompt
from starlings.messages import StepReady

from .writing.material import Material, Revision, read_input


class Editing(Strategy):
    """One revision; a draft that all its critics have accepted stays as it is."""

    takes: ClassVar[dict[str, Any] | None] = Revision.model_json_schema()

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Revise a draft.

        Raises:
            StepFailed: `input_invalid`, `no_text`, `text_ambiguous`, `text_too_long`, `no_model`,
                `model_…`.
            TransientError: the model may work later.
        """
        given = read_input(Revision, ready)
        material = Material.of(ready, given.text)
        points = given.points
        if points is None:
            points = list(dict.fromkeys(p for said in material.reviews for p in said.points))
            if material.reviews and all(said.accepted for said in material.reviews):
                return Result(material.draft, summary=shorten(material.draft))
        text = await revise(
            ctx.model,
            material.assignment(agent, ready, ctx, None),
            packaged_prompt("starlings_agents.writing", "editor"),
            material.draft,
            points=points,
            key="revision",
        )
        return Result(text, summary=shorten(text))


agent = Agent(
    "editor",
    description="Revises a text by the points of its review, or as its task says",
    strategy=Editing(),
)
