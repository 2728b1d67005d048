"""What strategies without tools ask of a model: drafts, reviews of them, revisions.

The task, what a draft says and what a review demands go to the model as a task and as data: a draft
may quote what a stranger wrote. Results of earlier steps go along whole, up to `RESULT_CHARS` each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlings.agents.context import StepContext
from starlings.agents.step_model import StepModel
from starlings.agents.values import clean_text
from starlings.choreography.context import as_text, render_task, shorten
from starlings.llm.chat import DATA_RULE, system, user
from starlings.llm.prompt_file import Prompt
from starlings.llm.prompts import CRITIC, EDITOR, WRITER, role_line, task_lines
from starlings.messages import DependencyResult, StepFailed, StepReady

from .review import PASS_SCORE, Review, review_problems

if TYPE_CHECKING:
    from starlings.agents.agent import Agent

RESULT_CHARS = 16_000
TEXT_CHARS = 200_000


@dataclass(frozen=True)
class Assignment:
    """What a step asks for, and who is to do it."""

    agent: Agent
    ready: StepReady
    ctx: StepContext
    more: str = ""  # rules beside those of the agent

    def messages(
        self, role: str, prompt: Prompt, data: dict[str, Any] | None = None, **blanks: object
    ) -> list[dict[str, Any]]:
        """Write a question: rules of the role, results, task, and data beside the step's input."""
        rules = prompt.filled(data_rule=DATA_RULE, **blanks)
        who = f"{role_line(role)}\n{self.agent.description}"
        parts = [who, rules, self.agent.instructions, self.more]
        given = self.ready.input
        if data is not None:
            given = data if given is None else {"input": given, **data}
        task = task_lines(self.ready.task, given)
        whole = [_whole(result) for result in self.ready.context]
        asked = self.ready.model_copy(update={"task": task, "context": whole})
        return [
            system("\n\n".join(part for part in parts if part)),
            user(render_task(asked)),
        ]


async def draft(model: StepModel, assignment: Assignment, prompt: Prompt, *, key: str) -> str:
    """Ask for a text.

    Raises:
        ModelAway: the model cannot be asked now.
        ModelFailed: it gave no usable answer.
        StepFailed: `text_too_long`.
    """
    messages = assignment.messages(WRITER, prompt)
    return _text((await model.chat(messages, key=key, label=prompt.label)).text)


async def review(
    model: StepModel,
    assignment: Assignment,
    prompt: Prompt,
    text: str,
    *,
    key: str,
    pass_score: int = PASS_SCORE,
    criteria: Sequence[str] = (),
) -> Review:
    """Ask for a review of a text; `criteria` come from whoever asks for it, and so go as data.

    Raises:
        ModelAway: the model cannot be asked now.
        ModelFailed: it gave no usable answer.
    """
    data: dict[str, Any] = {"draft": text}
    if criteria:
        data["criteria"] = list(criteria)
    messages = assignment.messages(CRITIC, prompt, data, pass_score=pass_score)
    value = await model.structured(
        messages,
        Review.model_json_schema(),
        name="review",
        validate=lambda answer: review_problems(answer, pass_score),
        key=key,
        label=prompt.label,
    )
    return Review.model_validate(value)


async def revise(
    model: StepModel, assignment: Assignment, prompt: Prompt, text: str, *, points: Any, key: str
) -> str:
    """Ask for a text that meets the points of a review.

    Raises:
        ModelAway: the model cannot be asked now.
        ModelFailed: it gave no usable answer.
        StepFailed: `text_too_long`.
    """
    messages = assignment.messages(EDITOR, prompt, {"draft": text, "review": {"points": points}})
    return _text((await model.chat(messages, key=key, label=prompt.label)).text)


def _text(answer: str) -> str:
    text = clean_text(answer).strip()
    if len(text) > TEXT_CHARS:
        raise StepFailed(
            f"the model wrote {len(text):,} characters, and the limit is {TEXT_CHARS:,}; set "
            "STARLINGS_MAX_TOKENS, or ask for less",
            code="text_too_long",
        )
    return text


def _whole(result: DependencyResult) -> DependencyResult:
    """Show a result itself in the place of its summary."""
    if result.error is not None or result.skipped or result.output is None:
        return result
    return result.model_copy(update={"summary": shorten(as_text(result.output), RESULT_CHARS)})
