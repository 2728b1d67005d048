"""An agent that takes turns with tools which remember how they were called, and its model."""

from __future__ import annotations

import json

from starlings import Agent, ReAct, Result, StepFailed, TransientError
from starlings.agents.execute import execute
from starlings.llm import LlmSettings, ModelClient
from starlings.messages import Compensation, StepReady, Usage

from .model_server import Reply


class Birds:
    """An agent whose tools remember how they were called."""

    def __init__(self, **more):
        self.called = []
        self.agent = Agent(
            "guide", description="Knows birds", instructions="Be brief.", strategy=ReAct(**more)
        )
        self.agent.tool(self.find)
        self.agent.tool(self.ring)
        self.agent.tool(self.look, idempotent=True)

    def find(self, name: str, most: int = 3) -> list[str]:
        """Finds birds of a name."""
        self.called.append(("find", name, most))
        if name == "dodo":
            raise StepFailed("it is extinct <results>", code="extinct")
        if name == "goose":
            raise ValueError("geese are away")
        if name == "rush":
            raise TransientError("too many birds", retry_after_s=5, cooldown=True)
        return [f"{name} {number}" for number in range(most)]

    def ring(self, bird: str) -> Result:
        """Puts a ring on a bird."""
        self.called.append(("ring", bird))
        undo = Compensation(agent="guide", tool="unring", args={"bird": bird})
        return Result({"ringed": bird}, usage=Usage(calls=1, input_tokens=5), undo=undo)

    def look(self, place: str) -> int:
        """Counts the birds of a place."""
        self.called.append(("look", place))
        return 7


def calls(*wanted, text=""):
    """A reply that calls tools: name and arguments each."""
    listed = [
        {
            "id": f"c{number}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": args if isinstance(args, str) else json.dumps(args),
            },
        }
        for number, (name, args) in enumerate(wanted)
    ]
    return Reply(text, message={"tool_calls": listed}, finish_reason="tool_calls")


def ready(task="Which starlings are there?", **more):
    return StepReady(run_id="r", step_id="s", attempt=1, agent="guide", task=task, **more)


async def run(server, birds, *script, step=None, **more):
    server.replies(*script)
    given = {"openai_api_key": "sk-x", "openai_base_url": server.base_url, "retries": 0}
    async with ModelClient(LlmSettings(_env_file=None, **given)) as model:
        return await execute(birds.agent, step or ready(), model=model, **more)
