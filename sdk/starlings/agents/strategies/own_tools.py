"""Tools that a model in turns is offered beside those of its agent.

By one it answers in a given shape, by the other it says that the task cannot be done; either ends
the turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue, ValidationError

from starlings.agents.values import clean_text
from starlings.llm.chat import ToolRequest, Turn
from starlings.llm.prompts import GIVE_UP
from starlings.messages import StepFailed, ToolDefinition

from .review import shape_problems

if TYPE_CHECKING:
    from starlings.agents.agent import Agent

FINAL_ANSWER = "final_answer"
_CANNOT = f'Where these tools cannot do the task, call "{GIVE_UP}" and say why.'
_ANSWER = f'Do not answer in words, but by a call of "{FINAL_ANSWER}", when you know all of it.'
ASK_FOR_ANSWER = f'Nobody reads what you say in words. Call "{FINAL_ANSWER}" with your answer.'


class OwnTools:
    """What is offered for one agent; a tool of the agent goes before one of the same name."""

    def __init__(self, agent: Agent, answer: type[BaseModel] | None) -> None:
        self._agent = agent
        self._answer = answer
        self.definitions: list[ToolDefinition] = []
        if GIVE_UP not in agent.tools:
            self.definitions.append(_GIVE_UP)
        if answer is not None:
            if FINAL_ANSWER in agent.tools:
                raise StepFailed(
                    f"agent {agent.name!r} has a tool {FINAL_ANSWER!r}, which ReAct(answer=…) "
                    "offers the model itself; rename it with tool(name=…)",
                    code="config",
                )
            self.definitions.append(_final_answer(answer))

    @property
    def rules(self) -> str:
        """What the model is told of them."""
        names = {tool.name for tool in self.definitions}
        lines = [(GIVE_UP, _CANNOT), (FINAL_ANSWER, _ANSWER)]
        return "\n".join(line for name, line in lines if name in names)

    def problems(self, call: ToolRequest) -> list[str]:
        """List what is wrong with a call of one of them."""
        if call.name == GIVE_UP:
            why = call.args.get("reason")
            return [] if isinstance(why, str) and why.strip() else [f"{GIVE_UP}: say the reason"]
        if self._answer is None:
            raise RuntimeError("only offered tools are called")
        try:
            self._answer.model_validate(call.args)
        except ValidationError as error:
            return [f"{FINAL_ANSWER}: {problem}" for problem in shape_problems(error)]
        except Exception as error:  # an author's own validator
            return [f"{FINAL_ANSWER}: {type(error).__name__}: {error}"]
        return []

    def check_given_up(self, turn: Turn) -> None:
        """Look whether the model says that it cannot.

        Raises:
            StepFailed: `cannot`.
        """
        for call in turn.calls:
            if call.name == GIVE_UP and GIVE_UP not in self._agent.tools:
                why = clean_text(str(call.args["reason"]))
                raise StepFailed(f"agent {self._agent.name!r} cannot do this: {why}", code="cannot")

    def answered(self, turn: Turn) -> tuple[JsonValue] | None:
        """Return the answer of a turn; None where it has none."""
        if self._answer is None:
            return (clean_text(turn.text).strip(),) if not turn.calls else None
        for call in turn.calls:
            if call.name == FINAL_ANSWER:
                return (self._answer.model_validate(call.args).model_dump(mode="json"),)
        return None

    def others(self, turn: Turn) -> list[ToolRequest]:
        """Return the calls of the agent's own tools."""
        return [call for call in turn.calls if call.name in self._agent.tools]


def _final_answer(answer: type[BaseModel]) -> ToolDefinition:
    schema: dict[str, Any] = answer.model_json_schema()
    parameters = {name: value for name, value in schema.items() if name != "title"}
    parameters.setdefault("properties", {})
    return ToolDefinition(
        name=FINAL_ANSWER,
        description="Gives the answer to the task; ends it",
        parameters=parameters,
    )


_GIVE_UP = ToolDefinition(
    name=GIVE_UP,
    description="Says that the task cannot be done with these tools; ends it",
    parameters={
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "why, in one sentence"}},
        "required": ["reason"],
    },
)
