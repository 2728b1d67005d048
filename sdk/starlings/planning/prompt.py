"""What the planner's model is told, and the shape that its answer has to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import PLANNER_ROLE, agent_list, request_line
from starlings.messages.registry import AgentDefined

PROMPT = packaged_prompt("starlings.planning", "planner")


def planner_messages(request: str, agents: Sequence[AgentDefined]) -> list[dict[str, str]]:
    """Write the conversation that asks for a plan."""
    system = f"{PLANNER_ROLE}\n\n{PROMPT.filled(agents=agent_list(agents))}"
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": request_line(request)},
    ]


def plan_schema(agents: Sequence[str]) -> dict[str, Any]:
    """Write the JSON Schema of the answer; agents are those that there are now.

    Closed, with every property required, so that strict structured output takes it.
    """
    text = {"type": "string"}
    step = {
        "type": "object",
        "properties": {
            "id": {**text, "description": "s1, s2, …"},
            "agent": {**text, "enum": list(agents)},
            "task": {**text, "description": "what this agent shall do, clear by itself"},
            "depends_on": {
                "type": "array",
                "items": text,
                "description": "ids of the steps whose results this step needs",
            },
        },
        "required": ["id", "agent", "task", "depends_on"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": step},
            "cannot": {
                "type": ["string", "null"],
                "description": "why there is no plan; null when there is one",
            },
        },
        "required": ["steps", "cannot"],
        "additionalProperties": False,
    }
