"""Reading what a fork shall have otherwise: `--set name=value`, `--agent name=variant`."""

from __future__ import annotations

import json
from typing import Any

import typer

OF_MODELS = ("model", "temperature", "prompt")
OF_STEPS = ("task", "input", "args", "tool")
_TEXTS = ("model", "prompt", "task", "tool")


def parse_settings(given: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Read what is set for the run, and what for single steps.

    Raises:
        BadParameter: something cannot be set, or has no such value.
    """
    of_run: dict[str, Any] = {}
    of_steps: dict[str, dict[str, Any]] = {}
    for setting in given:
        name, separator, text = setting.partition("=")
        step_id, _, field = name.strip().rpartition(".")
        known = (*OF_MODELS, *OF_STEPS) if step_id else OF_MODELS
        if not separator or field not in known:
            raise typer.BadParameter(
                f"{setting!r} sets nothing; write NAME=VALUE with one of {', '.join(OF_MODELS)}, "
                f"or STEP.NAME=VALUE with one of {', '.join((*OF_MODELS, *OF_STEPS))}"
            )
        target = of_steps.setdefault(step_id, {}) if step_id else of_run
        target[field] = _value(field, text)
    return of_run, of_steps


def _value(field: str, text: str) -> Any:
    if field in _TEXTS:
        if not text.strip():
            raise typer.BadParameter(f"{field} is given no value: {field}=…")
        return text
    try:
        value = json.loads(text)
    except ValueError:
        if field == "input":
            return text
        raise typer.BadParameter(f"{text!r} is no JSON, as {field} has to be") from None
    if field == "args" and not isinstance(value, dict):
        raise typer.BadParameter("args have to be a JSON object, with arguments by name")
    if field == "temperature" and (type(value) not in (int, float) or not 0 <= value <= 2):  # noqa: PLR2004
        raise typer.BadParameter("temperature has to be a number from 0 to 2")
    return value


def parse_variants(given: list[str]) -> dict[str, str]:
    """Read which variants of agents are to be used.

    Raises:
        BadParameter: one is not `AGENT=VARIANT`, or an agent is named twice.
    """
    found: dict[str, str] = {}
    for text in given:
        agent, separator, variant = (part.strip() for part in text.partition("="))
        if not separator or not agent or not variant or agent in found:
            raise typer.BadParameter(
                f"{text!r} names no variant; write AGENT=VARIANT, once for each agent; the variant "
                "`default` is the agent without one"
            )
        found[agent] = variant
    return found
