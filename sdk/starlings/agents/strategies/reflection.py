"""Reflection (evaluator-optimizer): draft, review, revise, until a draft is accepted.

Rules:
- There are at most `rounds` reviews, and nothing is revised behind the last one: what is returned
  has been reviewed. Where no draft was accepted, that is the one with the highest score, and of
  these the latest.
- A revision that changes nothing ends it: the review would say the same again.
- A review is data (`Review`), checked: who does not accept says what has to be changed.
- Drafts and reviews are kept: an attempt that is started again goes on behind them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from starlings.agents.context import StepContext
from starlings.agents.strategy import Strategy, whole_number
from starlings.agents.values import Result
from starlings.choreography.context import shorten
from starlings.llm.prompt_file import Prompt, packaged_prompt
from starlings.messages import StepFailed, StepReady

from .review import PASS_SCORE, Review
from .writing import Assignment, draft, review, revise

if TYPE_CHECKING:
    from starlings.agents.agent import Agent


@dataclass(frozen=True, repr=False)
class Reflection(Strategy):
    """One agent that writes, reviews and revises.

    The output is `{"text", "accepted", "score", "points", "rounds"}`; the points are those of the
    last review.

    Args:
        rounds: reviews at the most.
        critic: the model that reviews, of the same server; None: the one that writes.
        criteria: what the critic looks at above all, besides the task; a text, or a `Prompt` file.
        pass_score: what an accepted draft has at least, of 10.
        must_accept: whether a step without an accepted draft fails (`not_accepted`).
    """

    rounds: int = 3
    critic: str | None = None
    criteria: str | Prompt = ""
    pass_score: int = PASS_SCORE
    must_accept: bool = False

    def __post_init__(self) -> None:
        whole_number(self.rounds, "Reflection(rounds=…)", most=20)
        whole_number(self.pass_score, "Reflection(pass_score=…)", least=0, most=10)

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Write, review and revise.

        Raises:
            StepFailed: `not_accepted`, `no_model`, `text_too_long`, `model_…`.
            TransientError: the model may work later.
        """
        best = await self._best(Assignment(agent, ready, ctx), ctx)
        if self.must_accept and not best.review.accepted:
            raise StepFailed(
                f"no draft was accepted in {best.rounds} rounds; the best one has a score of "
                f"{best.review.score}, and still: {'; '.join(best.review.points)[:1_000]}; raise "
                f"Reflection(rounds=…) of agent {agent.name!r}, or say more in the task",
                code="not_accepted",
            )
        output = {"text": best.text, **best.review.model_dump(), "rounds": best.rounds}
        return Result(output, summary=shorten(best.text))

    async def _best(self, assignment: Assignment, ctx: StepContext) -> _Reviewed:
        text = await draft(ctx.model, assignment, _prompt("draft"), key="reflection/draft")
        best = _Reviewed(text, await self._review(assignment, text, 1), 1)
        said = best.review
        for number in range(2, self.rounds + 1):
            if said.accepted:
                break
            revised = await revise(
                ctx.model,
                assignment,
                _prompt("revise"),
                text,
                points=said.points,
                key=f"reflection/revision/{number}",
            )
            if revised == text:
                break
            text, said = revised, await self._review(assignment, revised, number)
            if said.accepted or said.score >= best.review.score:
                best = _Reviewed(text, said, number)
            best = best._replace(rounds=number)
        return best

    async def _review(self, assignment: Assignment, text: str, number: int) -> Review:
        ctx, criteria = assignment.ctx, str(self.criteria).strip()
        looked_at = f"What to look at above all:\n{criteria}" if criteria else ""
        said = await review(
            ctx.model if self.critic is None else ctx.model.using(self.critic),
            replace(assignment, more=looked_at),
            _prompt("review"),
            text,
            key=f"reflection/review/{number}",
            pass_score=self.pass_score,
        )
        await ctx.heartbeat({"round": number, "score": said.score, "accepted": said.accepted})
        return said


class _Reviewed(NamedTuple):
    text: str
    review: Review
    rounds: int


def _prompt(name: str) -> Prompt:
    return packaged_prompt("starlings.agents", name)
