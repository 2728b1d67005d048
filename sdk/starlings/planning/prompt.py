"""What the planner's model is told, and the shape that its answer has to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import PLANNER_ROLE, agent_list, request_line
from starlings.messages.registry import AgentDefined

PROMPT = packaged_prompt("starlings.planning", "planner")
ITEM = "{{item}}"  # stands in prompts as itself

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_VALUES = {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}}
_COMPARED_WITH: dict[str, dict[str, Any]] = {
    "equals": {"type": ["string", "number", "boolean", "null"]},
    "not_equals": {"type": ["string", "number", "boolean", "null"]},
    "less_than": _NUMBER,
    "at_most": _NUMBER,
    "more_than": _NUMBER,
    "at_least": _NUMBER,
    "one_of": _VALUES,
    "none_of": _VALUES,
    "contains": {"type": ["string", "number", "boolean"]},
    "exists": {"type": "boolean"},
}


def planner_rules(agents: Sequence[AgentDefined]) -> str:
    """Write the rules of planning, for these agents."""
    return PROMPT.filled(agents=agent_list(agents), item=ITEM)


def planner_messages(request: str, agents: Sequence[AgentDefined]) -> list[dict[str, str]]:
    """Write the conversation that asks for a plan."""
    system = f"{PLANNER_ROLE}\n\n{planner_rules(agents)}"
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": request_line(request)},
    ]


def plan_schema(agents: Sequence[str]) -> dict[str, Any]:
    """Write the JSON Schema of the answer; agents are those that there are now.

    Closed, with every property required, so that strict structured output takes it. Models are
    offered one comparison in a condition, no groups of them.
    """
    step = _closed(
        {
            "id": {**_TEXT, "description": "s1, s2, …"},
            "agent": {**_TEXT, "enum": list(agents)},
            "task": {**_TEXT, "description": "what this agent shall do, clear by itself"},
            "depends_on": {
                "type": "array",
                "items": _TEXT,
                "description": "ids of the steps whose results this step needs",
            },
            "when": _condition_schema(),
            "foreach": _list_schema(),
        }
    )
    cannot = {
        "type": ["string", "null"],
        "description": "why there is no plan; null when there is one",
    }
    return _closed({"steps": {"type": "array", "items": step}, "cannot": cannot})


def _condition_schema() -> dict[str, Any]:
    value = {**_TEXT, "description": "what is compared, such as {{steps.s1.output}}"}
    kinds = [_closed({"value": value, name: than}) for name, than in _COMPARED_WITH.items()]
    return {
        "anyOf": [{"type": "null"}, *kinds],
        "description": "the step is skipped unless this holds; null: it is done in any case",
    }


def _list_schema() -> dict[str, Any]:
    return {
        "anyOf": [{"type": "null"}, _TEXT, _VALUES],
        "description": "the step is done for each item: of a list, or of the list that a step "
        "returns, such as {{steps.s1.output}}; null: it is done once",
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
