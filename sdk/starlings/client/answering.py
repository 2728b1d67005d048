"""Answering the form of a step: checked here before it is sent, and by the agent that asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from starlings.choreography import Run
from starlings.choreography.state import StepState
from starlings.choreography.transitions import RunPhase
from starlings.forms import Form
from starlings.messages import HUMAN, StarlingsError


class AnswerInvalid(StarlingsError):  # noqa: N818 - says what is the case
    """The form does not take such an answer; every problem is named."""

    code = "answer_invalid"


def asked_form(agent: str, progress: object) -> dict[str, Any] | None:
    """Find what a form asks in the progress that its step tells; None where none is asked."""
    said = progress.get("progress") if isinstance(progress, dict) else None
    return said if agent == HUMAN and isinstance(said, dict) and "asks" in said else None


def form_of(step: StepState) -> Form | None:
    """Read a step's form; None where the plan fills parts of it in while the run is under way.

    Raises:
        AnswerInvalid: the step asks for no form.
    """
    text = json.dumps(step.spec.input)
    try:
        return Form.model_validate_json(text)
    except ValidationError as error:
        if isinstance(step.spec.input, dict) and "{{" in text:
            return None
        problem = error.errors(include_url=False)[0]["msg"]
    how = "`starlings approve`" if step.spec.approval else "`starlings show`"
    raise AnswerInvalid(f"step {step.spec.id!r} asks for no form ({problem}); see {how}")


def read_answer(
    step: StepState, values: JsonValue, typed: Mapping[str, str]
) -> dict[str, JsonValue]:
    """Bring an answer together, and check it as far as the form is known.

    Raises:
        AnswerInvalid: with every problem.
    """
    form = form_of(step)
    if not isinstance(values, dict):
        raise AnswerInvalid("an answer has to be a JSON object with the fields")
    answer = {**values, **(form.read(typed) if form else typed)}
    if form is None:
        return answer
    filled, problems = form.check(answer)
    if problems:
        raise AnswerInvalid(f"the form of step {step.spec.id!r} does not take this: "
                            f"{'; '.join(problems)}")  # fmt: skip
    return filled


def why_not_asked(run: Run, step: StepState) -> str | None:
    """Say why nobody waits for an answer to a step; None where somebody does."""
    if step.settled:
        answer = step.output if isinstance(step.output, dict) else {}
        by = f" by {answer['by']}" if answer.get("by") else ""
        word = f"has been answered{by} already" if "answer" in answer else "has ended"
        return f"step {step.spec.id!r} of run {run.run_id} {word}"
    if step.attempt == 0:
        return f"step {step.spec.id!r} of run {run.run_id} does not ask yet"
    return f"run {run.run_id} has ended" if run.phase is RunPhase.ENDED else None
