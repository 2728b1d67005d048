"""ReAct: the model calls tools, sees what they give, and goes on until it answers in words.

Rules:
- Calls are checked against the tools' signatures before the first of a turn is made; the model is
  shown what is wrong with them, and may mend it (the model port does these rounds).
- Everything is bounded: turns, calls, turns that make the same calls with the same results, and how
  much of older results the model is shown again.
- Calls of a turn are made one after the other, in the model's order; where all their tools are
  idempotent, at once.
- The model's turns are kept, and so is what a tool gave or said where repeating the call may do
  harm: an attempt that is started again goes on behind them.
- A tool that fails is shown to the model. One that says itself that it may work later ends the
  attempt, and the step's retry policy decides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel
from pydantic_core import to_json

from starlings.agents.context import StepContext
from starlings.agents.kept_tool import Gave, told_once
from starlings.agents.once import OWN_PREFIX
from starlings.agents.several_calls import as_one
from starlings.agents.strategy import Strategy, whole_number
from starlings.agents.values import Result, clean_text, recorded
from starlings.choreography.context import render_task, resolve
from starlings.llm.chat import (
    DATA_RULE,
    ToolRequest,
    Turn,
    escaped_json,
    system,
    tool_result,
    user,
)
from starlings.llm.prompt_file import packaged_prompt
from starlings.llm.prompts import agent_role, task_lines
from starlings.messages import (
    ConfigError,
    StepFailed,
    StepReady,
    ToolCall,
)

from .own_tools import ASK_FOR_ANSWER, OwnTools

if TYPE_CHECKING:
    from starlings.agents.agent import Agent

_REASONING_CHARS = 500
_KEPT_CHARS = 500
_SHORT_CHARS = 4 * _KEPT_CHARS  # what is shorter is left: escaped once more, it might grow
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
        max_history: characters of the conversation; beyond, the oldest results are cut short.
        answer: the shape of the answer, a Pydantic model; None: an answer in words.
    """

    max_turns: int = 10
    max_calls: int = 64
    max_repeats: int = 3
    max_history: int = 200_000
    answer: type[BaseModel] | None = None

    calls_tools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole_number(self.max_turns, "ReAct(max_turns=…)")
        whole_number(self.max_calls, "ReAct(max_calls=…)", most=10_000)
        whole_number(self.max_repeats, "ReAct(max_repeats=…)", least=2)
        whole_number(self.max_history, "ReAct(max_history=…)", least=10_000, most=100_000_000)
        if self.answer is not None and not _is_model(self.answer):
            raise ConfigError(f"ReAct(answer=…) has to be a Pydantic model, not {self.answer!r}")

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
        self._own = OwnTools(agent, limits.answer)
        self._tools = [tool.definition for tool in agent.tools.values()] + self._own.definitions
        self._calls = 0
        self._seen: Counter[str] = Counter()
        self._results: list[Result] = []

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
            self._own.check_given_up(turn)
            messages += await self._made(turn, number)
            answered = self._own.answered(turn)
            if answered is not None:
                return as_one(self._agent, Result(answered[0]), self._results)
            shorten_history(messages, self._limits.max_history)
        raise self._exhausted()

    async def _made(self, turn: Turn, number: int) -> list[dict[str, Any]]:
        """Make the calls of a turn; return what the conversation goes on with."""
        calls = self._own.others(turn)
        if not calls:
            return [turn.message, user(ASK_FOR_ANSWER)]
        self._calls += len(calls)
        if self._calls > self._limits.max_calls:
            raise StepFailed(
                f"the model wants {self._calls} calls made, and ReAct(max_calls=…) of agent "
                f"{self._agent.name!r} allows {self._limits.max_calls}; raise it, or ask for less "
                "in one step",
                code="calls_exhausted",
            )
        await self._ctx.heartbeat({"turn": number, "calls": [call.name for call in calls]})
        results = await self._make_all(calls, turn, number)
        told = [
            tool_result(call, gave.output, error=gave.error)
            for call, gave in zip(calls, results, strict=True)
        ]
        times = self._count(calls, results)
        return [turn.message, *told, *([user(_AGAIN)] if times > 1 else [])]

    async def _make_all(self, calls: list[ToolRequest], turn: Turn, number: int) -> list[Gave]:
        places = [f"{number}/{position}" for position in range(len(calls))]
        at_once: list[Gave | BaseException] = []
        if all(self._agent.tools[call.name].idempotent for call in calls):
            making = map(self._make, calls, places)
            at_once = await asyncio.gather(*making, return_exceptions=True)
        results: list[Gave] = []
        for position, call in enumerate(calls):
            gave = at_once[position] if at_once else await self._make(call, places[position])
            if isinstance(gave, BaseException):
                raise gave
            self._record(call, gave, "" if results else turn.text)
            results.append(gave)
        return results

    async def _make(self, call: ToolRequest, place: str) -> Gave:
        tool, args = self._agent.tools[call.name], self._resolved(call)
        return await told_once(tool, args, self._ctx, f"{OWN_PREFIX}react/{place}")

    def _record(self, call: ToolRequest, gave: Gave, reasoning: str) -> None:
        if gave.result is not None:
            self._results.append(gave.result)
        if self._ctx.spent is None:
            return
        record = ToolCall(
            tool=call.name,
            args={name: recorded(value) for name, value in call.args.items()},
            reasoning=clean_text(reasoning)[:_REASONING_CHARS],
            output=recorded(gave.output),
            error=gave.error,
        )
        self._ctx.spent.calls.append(record)
        self._ctx.spent.add(gave.result.usage if gave.result else None)

    def _count(self, calls: list[ToolRequest], results: list[Gave]) -> int:
        """Count turns that were the same as this one, which may not go on forever."""
        made = [[call.name, call.args] for call in calls]
        gave = [[gave.output, gave.error] for gave in results]
        key = hashlib.sha256(to_json([made, gave])).hexdigest()
        self._seen[key] += 1
        if self._seen[key] < self._limits.max_repeats:
            return self._seen[key]
        names = ", ".join(dict.fromkeys(call.name for call in calls))
        raise StepFailed(
            f"the model made the same calls ({names}) with the same results "
            f"{self._seen[key]} times; choose a more capable model, say more in the task, or "
            f"raise ReAct(max_repeats=…) of agent {self._agent.name!r} where that is meant",
            code="calls_repeated",
        )

    def _problems(self, call: ToolRequest) -> list[str]:
        """List what is wrong with a call."""
        if call.name not in self._agent.tools:
            return self._own.problems(call)
        try:
            return self._agent.tools[call.name].problems(self._resolved(call))
        except StepFailed as error:
            return [f"{call.name}: {error}"]

    def _resolved(self, call: ToolRequest) -> dict[str, Any]:
        meant = self._ready.model_copy(update={"task": "", "input": None, "args": call.args})
        return resolve(meant).args or {}

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
            "own_tools": self._own.rules,
            "data_rule": DATA_RULE,
        }

    def _system_text(self, rules: str) -> str:
        who = f"{agent_role(self._agent.name)}\n{self._agent.description}"
        parts = [who, rules.replace("\n\n", "\n"), self._agent.instructions]
        return "\n\n".join(part for part in parts if part)


def _is_model(answer: object) -> bool:
    return isinstance(answer, type) and issubclass(answer, BaseModel)


def shorten_history(messages: list[dict[str, Any]], limit: int) -> None:
    """Cut what tools gave, the oldest first, until all is short enough to be shown again."""
    size = sum(len(to_json(message)) for message in messages)
    for place, message in enumerate(messages):
        if size <= limit:
            return
        content = message["content"]
        if message["role"] == "tool" and len(content) > _SHORT_CHARS:
            cut = {"begins": content[:_KEPT_CHARS], "cut_off_at": _KEPT_CHARS}
            messages[place] = {**message, "content": escaped_json(cut)}
            size -= len(content) - len(messages[place]["content"])
