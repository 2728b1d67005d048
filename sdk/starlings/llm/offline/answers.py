"""Answer a chat: as planner, as an agent with tools, as a writer, or by saying what this is."""

from __future__ import annotations

import json
from typing import Any

from starlings.llm import prompts

from .calls import make_calls
from .expressions import NotUnderstood
from .plans import make_plan
from .replans import change_plan
from .texts import ROLES
from .turns import CannotGoOn, declared_tools, next_turn

MODEL = "starlings-offline-rules"
WITHOUT = "without a real model: set OPENAI_API_KEY or OPENAI_BASE_URL"
ANNOUNCEMENT = (
    f"I am {MODEL}: rules for sums, texts and weather, not a language model. "
    "I plan and choose tools for Starlings, and put what was found into a plain text; for anything "
    "else set OPENAI_API_KEY or OPENAI_BASE_URL to use a real model."
)


def answer_turn(messages: list[dict[str, Any]], tools: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of the reply to a chat with tools, and the calls in it."""
    asked = prompts.read_task(next(iter(_contents(messages, "user")), ""))
    declared = declared_tools(tools)
    try:
        return next_turn(asked, declared, _contents(messages, "tool"))
    except NotUnderstood as error:
        why = f"I cannot do this {WITHOUT} (the offline rules do not understand {error})"
    except CannotGoOn as error:
        why = f"I cannot do this: {error}"
    except RecursionError:
        why = f"I cannot do this {WITHOUT} (it is nested too deeply)"
    if any(tool.name == prompts.GIVE_UP for tool in declared):
        return "", [{"name": prompts.GIVE_UP, "arguments": json.dumps({"reason": why})}]
    return why, []


def answer(messages: list[dict[str, Any]]) -> str:
    """Return the content of the reply to a chat."""
    system = "\n".join(_contents(messages, "system"))
    asked = next(iter(_contents(messages, "user")), "")
    role = prompts.read_role(system)
    if role == "planner":
        agents = prompts.read_agents(system)
        return _json("steps", "plan", lambda: make_plan(prompts.read_request(asked), agents))
    if role == "replanner":
        return _changed(asked, prompts.read_agents(system))
    if role is not None and role.startswith("agent "):
        tools = prompts.read_tools(system)
        return _json("calls", "do", lambda: make_calls(prompts.read_task(asked), tools))
    if role in ROLES:
        return ROLES[role](prompts.read_task(asked))
    return ANNOUNCEMENT


def _changed(asked: str, agents: list[prompts.AgentLines]) -> str:
    run, text = prompts.read_run(asked)
    reply: dict[str, Any] = {"steps": [], "remove": [], "again": [], "reason": "", "cannot": None}
    try:
        reply |= change_plan(run, text, agents)
    except (NotUnderstood, RecursionError) as error:
        reply["cannot"] = f"I cannot plan this {WITHOUT} (the offline rules do not know {error})"
    return json.dumps(reply, ensure_ascii=False)


def _json(name: str, verb: str, make: Any) -> str:
    try:
        reply = {name: make(), "cannot": None}
    except NotUnderstood as error:
        why = f"I cannot {verb} this {WITHOUT} (the offline rules do not understand {error})"
        reply = {name: [], "cannot": why}
    except RecursionError:
        reply = {name: [], "cannot": f"I cannot {verb} this {WITHOUT} (it is nested too deeply)"}
    return json.dumps(reply, ensure_ascii=False)


def _contents(messages: list[dict[str, Any]], role: str) -> list[str]:
    return [
        message["content"]
        for message in messages
        if message.get("role") == role and isinstance(message.get("content"), str)
    ]
