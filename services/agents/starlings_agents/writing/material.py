"""What a critic or an editor works on: the draft, its reviews, and the facts behind it.

A step may say it in its `input`. One that does not, as in a plan that a model has made, means what
the steps before it gave: the one text among them, from a writer or editor if there is one, and what
critics said of it. What is left are the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from starlings import StepContext, StepFailed
from starlings.agents import Agent, Review
from starlings.agents.signatures import listed_problems
from starlings.agents.strategies.writing import Assignment
from starlings.messages import DependencyResult, StepReady

from .settings import writing_settings

ModelT = TypeVar("ModelT", bound=BaseModel)

_AUTHORS = frozenset({"writer", "editor"})


class Draft(BaseModel):
    """What a critic is given; without a text, that of the steps before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | None = Field(default=None, min_length=1, description="the draft")
    criteria: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list, description="what the draft is held against"
    )


class Revision(BaseModel):
    """What an editor is given; what is left out is taken from the steps before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | None = Field(default=None, min_length=1, description="the draft")
    points: list[Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="what has to be changed"
    )


def read_input(model: type[ModelT], ready: StepReady) -> ModelT:
    """Read a step's input.

    Raises:
        StepFailed: `input_invalid`.
    """
    try:
        return model.model_validate(ready.input if ready.input is not None else {})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise StepFailed(
            f"the input of step {ready.step_id!r} is not usable: {listed_problems(found)}",
            code="input_invalid",
        ) from None


@dataclass(frozen=True)
class Material:
    """A draft, what critics said, and what else is known."""

    draft: str
    reviews: list[Review]
    facts: list[DependencyResult]

    @classmethod
    def of(cls, ready: StepReady, text: str | None) -> Material:
        """Sort what a step was given.

        Raises:
            StepFailed: `no_text`, `text_ambiguous`, `text_too_long`.
        """
        reviews = {result.step_id: said for result in ready.context if (said := _review(result))}
        others = [result for result in ready.context if result.step_id not in reviews]
        if text is None:
            chosen = _chosen(others, ready)
            others = [result for result in others if result.step_id != chosen.step_id]
            text = _text(chosen) or ""
        else:
            others = [result for result in others if _text(result) != text]
        limit = writing_settings().max_chars
        if len(text) > limit:
            raise StepFailed(
                f"the draft has {len(text):,} characters, and the limit is {limit:,} "
                "(STARLINGS_WRITING_MAX_CHARS)",
                code="text_too_long",
            )
        return cls(text, list(reviews.values()), others)

    def assignment(
        self, agent: Agent, ready: StepReady, ctx: StepContext, given: Any
    ) -> Assignment:
        """Say what is asked for; the facts are the results that are shown."""
        seen = ready.model_copy(update={"context": self.facts, "input": given})
        return Assignment(agent, seen, ctx, more=writing_settings().style)


def _chosen(results: list[DependencyResult], ready: StepReady) -> DependencyResult:
    texts = [result for result in results if _text(result)]
    texts = [result for result in texts if result.agent in _AUTHORS] or texts
    if len(texts) == 1:
        return texts[0]
    found = ", ".join(repr(result.step_id) for result in texts)
    say = 'say which one in its input, as {"text": "{{steps.<id>.output}}"}'
    raise StepFailed(
        f"step {ready.step_id!r} has several texts before it, {found}; {say}"
        if texts
        else f"step {ready.step_id!r} has no text before it; let it depend on one, or {say}",
        code="text_ambiguous" if texts else "no_text",
    )


def _text(result: DependencyResult) -> str | None:
    """Return what a step wrote: its output, or the `text` of it."""
    output = result.output
    if isinstance(output, dict):
        output = output.get("text")
    return output if isinstance(output, str) and output.strip() else None


def _review(result: DependencyResult) -> Review | None:
    output = result.output
    if not isinstance(output, dict) or "text" in output:
        return None
    try:
        return Review.model_validate(output)
    except ValidationError:
        return None
