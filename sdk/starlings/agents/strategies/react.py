"""ReAct: the model calls tools, sees what they give, and goes on until it answers in words.

Rules:
- Calls are checked against the tools' signatures before the first of a turn is made; the model is
  shown what is wrong with them, and may mend it (the model port does these rounds).
- Everything is bounded: turns, calls, and turns that make the same calls with the same results.
- Calls of a turn are made one after the other, in the model's order.
- The model's turns are kept, and so is what a tool gave or said where repeating the call may do
  harm: an attempt that is started again goes on behind them.
- A tool that fails is shown to the model. One that says itself that it may work later ends the
  attempt, and the step's retry policy decides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import to_json

from starlings.agents.context import StepContext
from starlings.agents.kept_tool import Gave, told_once
from starlings.agents.once import OWN_PREFIX
from starlings.agents.strategy import Strategy, whole_number
from starlings.agents.toolplan import undo_of_all
from starlings.agents.values import Result, clean_text, recorded
from starlings.choreography.context import render_task, resolve
from starlings.llm.chat import DATA_RULE, ToolRequest, Turn, system, tool_result, user
from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import GIVE_UP, agent_role, task_lines
from starlings.messages import (
    Compensation,
    StepFailed,
    StepReady,
    ToolCall,
    ToolDefinition,
)

if TYPE_CHECKING:
    from starlings.agents.agent import Agent

_REASONING_CHARS = 500
_CANNOT = f'Where these tools cannot do the task, call "{GIVE_UP}" and say why.'
_AGAIN = (
    "These calls gave the same results as before. Do not make them again: make others, or answer."
)


@dataclass(frozen=True, repr=False)
class ReAct(Strategy):
    """Model and tools in turns.

    Args:
        max_turns: answers of the model, the last one included.
        max_calls: calls of tools, over all turns.
        max_repeats: turns with the same calls and the same results.
    """

    max_turns: int = 10
    max_calls: int = 64
    max_repeats: int = 3

    calls_tools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole_number(self.max_turns, "ReAct(max_turns=…)")
        whole_number(self.max_calls, "ReAct(max_calls=…)", most=10_000)
        whole_number(self.max_repeats, "ReAct(max_repeats=…)", least=2)

    async def run(self, agent: Agent, ready: StepReady, ctx: StepContext) -> Result:
        """Let the model take turns until it answers.

        Raises:
            StepFailed: `turns_exhausted`, `calls_exhausted`, `calls_repeated`, `cannot` (the
                model's own word), `no_model`, `model_…`.
            TransientError: the model, or what a tool needs, may work later.
        """
        return await _Turns(self, agent, ready, ctx).run()


class _Turns:
    def __init__(self, limits: ReAct, agent: Agent, ready: StepReady, ctx: StepContext) -> None:
        self._limits = limits
        self._agent = agent
        self._ready = ready
        self._ctx = ctx
        self._tools = [tool.definition for tool in agent.tools.values()]
        if GIVE_UP not in agent.tools:
            self._tools.append(_GIVE_UP)
        self._calls = 0
        self._seen: Counter[str] = Counter()
        self._undos: list[Compensation | bool] = []

    async def run(self) -> Result:
        prompt = packaged_prompt("starlings.agents", "react")
        task = task_lines(self._ready.task, self._ready.input)
        messages = [
            system(self._system_text(prompt.filled(**self._blanks()))),
            user(render_task(self._ready.model_copy(update={"task": task}))),
        ]
        for number in range(1, self._limits.max_turns + 1):
            turn = await self._ctx.model.chat(
                messages,
                tools=self._tools,
                validate=self._problems,
                key=f"react/{number}",
                label=prompt.label,
            )
            if not turn.calls:
                output = clean_text(turn.text).strip()
                return Result(output, undo=undo_of_all(self._agent, self._undos))
            messages += await self._made(turn, number)
        raise self._exhausted()

    async def _made(self, turn: Turn, number: int) -> list[dict[str, Any]]:
        """Make the calls of a turn; return what the conversation goes on with."""
        self._check_given_up(turn)
        self._calls += len(turn.calls)
        if self._calls > self._limits.max_calls:
            raise StepFailed(
                f"the model wants {self._calls} calls made, and ReAct(max_calls=…) of agent "
                f"{self._agent.name!r} allows {self._limits.max_calls}; raise it, or ask for less "
                "in one step",
                code="calls_exhausted",
            )
        names = [call.name for call in turn.calls]
        await self._ctx.heartbeat({"turn": number, "calls": names})
        results = [
            await self._make(call, f"{number}/{position}", turn.text if position == 0 else "")
            for position, call in enumerate(turn.calls)
        ]
        told = [
            tool_result(call, gave.output, error=gave.error)
            for call, gave in zip(turn.calls, results, strict=True)
        ]
        times = self._count(turn, results)
        return [turn.message, *told, *([user(_AGAIN)] if times > 1 else [])]

    async def _make(self, call: ToolRequest, place: str, reasoning: str) -> Gave:
        record = ToolCall(
            tool=call.name,
            args={name: recorded(value) for name, value in call.args.items()},
            reasoning=clean_text(reasoning)[:_REASONING_CHARS],
        )
        tool, args = self._agent.tools[call.name], self._resolved(call)
        gave = await told_once(tool, args, self._ctx, f"{OWN_PREFIX}react/{place}")
        spent = self._ctx.spent
        if spent is not None:
            told = {"output": recorded(gave.output), "error": gave.error}
            spent.calls.append(record.model_copy(update=told))
            spent.add(gave.result.usage if gave.result else None)
        if gave.result is not None:
            self._undos.append(gave.result.undo)
        return gave

    def _count(self, turn: Turn, results: list[Gave]) -> int:
        """Count turns that were the same as this one, which may not go on forever."""
        made = [[call.name, call.args] for call in turn.calls]
        gave = [[gave.output, gave.error] for gave in results]
        key = hashlib.sha256(to_json([made, gave])).hexdigest()
        self._seen[key] += 1
        if self._seen[key] < self._limits.max_repeats:
            return self._seen[key]
        names = ", ".join(dict.fromkeys(call.name for call in turn.calls))
        raise StepFailed(
            f"the model made the same calls ({names}) with the same results "
            f"{self._seen[key]} times; choose a more capable model, say more in the task, or "
            f"raise ReAct(max_repeats=…) of agent {self._agent.name!r} where that is meant",
            code="calls_repeated",
        )

    def _problems(self, call: ToolRequest) -> list[str]:
        """List what is wrong with a call."""
        if call.name not in self._agent.tools:
            why = call.args.get("reason")
            return [] if isinstance(why, str) and why.strip() else [f"{GIVE_UP}: say the reason"]
        try:
            return self._agent.tools[call.name].problems(self._resolved(call))
        except StepFailed as error:
            return [f"{call.name}: {error}"]

    def _resolved(self, call: ToolRequest) -> dict[str, Any]:
        meant = self._ready.model_copy(update={"task": "", "input": None, "args": call.args})
        return resolve(meant).args or {}

    def _check_given_up(self, turn: Turn) -> None:
        if GIVE_UP in self._agent.tools:
            return
        for call in turn.calls:
            if call.name == GIVE_UP:
                why = clean_text(str(call.args["reason"]))
                raise StepFailed(f"agent {self._agent.name!r} cannot do this: {why}", code="cannot")

    def _exhausted(self) -> StepFailed:
        return StepFailed(
            f"the model made calls in all of its {self._limits.max_turns} turns, and gave no "
            f"answer; raise ReAct(max_turns=…) of agent {self._agent.name!r}, or make several "
            "steps of the task",
            code="turns_exhausted",
        )

    def _blanks(self) -> dict[str, object]:
        return {
            "turns": self._limits.max_turns,
            "example": "{{steps.<step>.output}}",
            "cannot": "" if GIVE_UP in self._agent.tools else _CANNOT,
            "data_rule": DATA_RULE,
        }

    def _system_text(self, rules: str) -> str:
        who = f"{agent_role(self._agent.name)}\n{self._agent.description}"
        parts = [who, rules.replace("\n\n", "\n"), self._agent.instructions]
        return "\n\n".join(part for part in parts if part)


_GIVE_UP = ToolDefinition(
    name=GIVE_UP,
    description="Says that the task cannot be done with these tools; ends it",
    parameters={
        "type": "object",
        "properties": {"reason": {"type": "string", "description": "why, in one sentence"}},
        "required": ["reason"],
    },
)
