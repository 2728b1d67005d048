"""The agent `human`: asks a person to fill in a form, and waits for the answer.

The form is the step's `input`; `starlings answer RUN STEP --field name=value` answers it. An answer
that the form does not take is no end: what is wrong with it is told as progress, and the form waits
on. A plain yes or no needs no agent: that is the `approval` of a step.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, JsonValue

from starlings import Ready, Sensor, StepContext, StepFailed, Waiting
from starlings.form_answers import answers_in_memory
from starlings.forms import Form

from .human_answers import answers

__all__ = ["agent", "answers_in_memory"]

_SHOWN_CHARACTERS = 500

agent = Sensor(
    "human",
    description="Asks a person to fill in a form with named fields, and waits for the answer",
    every_s=2.0,
    poke_timeout_s=15.0,
    concurrency=16,
)


class _Asked(BaseModel):
    """What is kept of a form that waits."""

    position: int
    since_s: float
    problems: list[str] = []
    refused: int = 0  # answers that did not fit: two of them may have the same problems


@agent.poke
async def look(form: Form, ctx: StepContext) -> Ready | Waiting:
    """Look once whether somebody has answered."""
    asked = _Asked.model_validate(ctx.state) if ctx.state is not None else None
    if asked is None:
        _check_time(form, ctx)
    given, position = await answers().since(
        ctx.run_id, ctx.step_id, asked.position if asked else None, asked_at=ctx.asked_at
    )
    problems, refused = (asked.problems, asked.refused) if asked else ([], 0)
    for answer in given:
        filled, problems = form.check(answer.payload)
        if not problems:
            return _answered(filled, answer.by)
        refused += 1
    since_s = asked.since_s if asked else time.time()
    if form.timeout_s is not None and time.time() - since_s >= form.timeout_s:
        return _out_of_time(form)
    left = _Asked(position=position, since_s=since_s, problems=problems, refused=refused)
    return Waiting(state=left.model_dump(mode="json"), progress=_shown(form, left))


def _check_time(form: Form, ctx: StepContext) -> None:
    """Refuse a form that its step would not wait for."""
    if form.timeout_s is None or ctx.deadline is None:
        return
    left_s = (ctx.deadline - datetime.now(UTC)).total_seconds()
    if left_s < form.timeout_s - 1:
        raise StepFailed(
            f"the form waits for {form.timeout_s:g} s, and its step for {left_s:.0f} s only; give "
            "the step a longer `timeouts: {run_s: …}`",
            code="input_invalid",
        )


def _answered(answer: dict[str, JsonValue], by: str) -> Ready:
    shown = ", ".join(f"{name}: {value}" for name, value in answer.items())
    return Ready({"answer": answer, "by": by}, summary=shown[:_SHOWN_CHARACTERS])


def _out_of_time(form: Form) -> Ready:
    if form.default is None:
        raise StepFailed(
            f"nobody has filled in the form within {form.timeout_s:g} s, and it has no default",
            code="unanswered",
        )
    answer, _ = form.check(form.default)
    return _answered(answer, "default")


def _shown(form: Form, asked: _Asked) -> dict[str, Any]:
    fields = {name: field.type for name, field in form.fields.items()}
    said: dict[str, Any] = {"asks": form.question[:_SHOWN_CHARACTERS], "fields": fields}
    if asked.problems:
        said["problems"] = [problem[:_SHOWN_CHARACTERS] for problem in asked.problems[:20]]
        said["refused"] = asked.refused
    return said
