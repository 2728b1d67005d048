"""The agent `writer`: drafts a text from its task and from what earlier steps found."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from starlings import Agent, Result, StepContext, StepFailed, Strategy
from starlings.agents.strategies.writing import Assignment, draft
from starlings.choreography.context import shorten
from starlings.llm.prompt_file import packaged_prompt
from starlings.messages import StepReady

from .writing.material import read_input
from .writing.settings import writing_settings


class Brief(BaseModel):
    """For whom, how, and how long; the task says what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audience: str | None = Field(default=None, min_length=1, description="for whom")
    tone: str | None = Field(default=None, min_length=1, description="how, such as dry or warm")
    words: int | None = Field(default=None, ge=1, le=20_000, description="words at the most")


class Writing(Strategy):
    """One draft; reviews are for others."""

    takes: ClassVar[dict[str, Any] | None] = Brief.model_json_schema()

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Write a draft.

        Raises:
            StepFailed: `input_invalid`, `no_model`, `text_too_long`, `model_…`.
            TransientError: the model may work later.
        """
        brief = read_input(Brief, ready).model_dump(exclude_none=True)
        if not ready.task.strip():
            raise StepFailed("say in `task` what to write", code="input_invalid")
        seen = ready.model_copy(update={"input": brief or None})
        assignment = Assignment(agent, seen, ctx, more=writing_settings().style)
        prompt = packaged_prompt("starlings_agents.writing", "writer")
        text = await draft(ctx.model, assignment, prompt, key="draft")
        return Result(text, summary=shorten(text))


agent = Agent(
    "writer",
    description="Writes texts such as reports, articles and mails, from a task and the results of "
    "earlier steps",
    strategy=Writing(),
)
