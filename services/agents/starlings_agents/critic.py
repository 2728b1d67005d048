"""The agent `critic`: reviews a draft, as data that an editor and a condition can use."""

from __future__ import annotations

from typing import Any, ClassVar

from starlings import Agent, Result, StepContext, Strategy
from starlings.agents.strategies.writing import review
from starlings.choreography.context import shorten
from starlings.llm.prompt_file import packaged_prompt
from starlings.messages import StepReady

from .writing.material import Draft, Material, read_input
from .writing.settings import writing_settings


class Reviewing(Strategy):
    """One review: `accepted`, a `score` from 0 to 10, and `points` to be changed."""

    takes: ClassVar[dict[str, Any] | None] = Draft.model_json_schema()

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Review a draft.

        Raises:
            StepFailed: `input_invalid`, `no_text`, `text_ambiguous`, `text_too_long`, `no_model`,
                `model_…`.
            TransientError: the model may work later.
        """
        given = read_input(Draft, ready)
        material = Material.of(ready, given.text)
        said = await review(
            ctx.model,
            material.assignment(agent, ready, ctx, None),
            packaged_prompt("starlings_agents.writing", "critic"),
            material.draft,
            key="review",
            pass_score=writing_settings().pass_score,
            criteria=given.criteria,
        )
        word = "accepted" if said.accepted else "not accepted"
        points = f": {'; '.join(said.points)}" if said.points else ""
        return Result(said.model_dump(), summary=shorten(f"{word}, {said.score} of 10{points}"))


agent = Agent(
    "critic",
    description="Reviews a text: whether it is accepted, a score, and what has to be changed",
    strategy=Reviewing(),
)
