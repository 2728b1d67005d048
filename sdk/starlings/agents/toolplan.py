"""The tool-plan strategy: a model writes a list of tool calls, which are then made one by one.

Rules:
- Every call of a plan is checked against the tools' signatures before the first is made; the model
  gets all problems shown to mend them (the model port does these rounds).
- The argument value `"previous"` stands for the output of the call before, also within lists and
  objects; `"{{steps.<id>.output}}"` for an earlier step's whole output, of which the prompt shows
  only the summary.
- The output of the last call is the step's output.
- The model's answers, and those of tools that are not declared idempotent, are kept: a step that is
  started again after a crash pays for no token twice and repeats no call.
- A tool that raises is shown to the model once, with what has been done so far; the model answers
  with the calls that are left. Transient errors are not the model's to mend: they end the attempt.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from starlings.choreography.context import render_task
from starlings.llm.chat import escaped_json
from starlings.llm.prompt_file import Prompt, packaged_prompt
from starlings.llm.prompts import (
    PREVIOUS,
    RESULTS_CLOSE,
    RESULTS_OPEN,
    agent_role,
    task_lines,
    tool_list,
)
from starlings.messages import (
    StarlingsError,
    StepFailed,
    StepReady,
    ToolCall,
    error_info,
)

from .agent import Agent
from .call_record import CallRefused
from .context import StepContext
from .kept_tool import call_once, describe
from .model_port import Spent
from .once import OWN_PREFIX
from .planned_calls import (
    MAX_CALLS,
    PlannedCall,
    adapt_answer,
    answer_problems,
    answer_schema,
    read_calls,
)
from .several_calls import as_one
from .values import Result, clean_text, recorded

_SHOWN_CHARS = 2_000


class _ToolFailedError(Exception):
    """A tool raised; `position` is its place among the plan's calls."""

    def __init__(self, call: ToolCall, position: int, cause: Exception) -> None:
        super().__init__(f"tool {call.tool!r} failed: {call.error}")
        self.call = call
        self.position = position
        self.cause = cause

    def as_step_failed(self) -> StepFailed:
        info = error_info(self.cause)
        code = info.code if isinstance(self.cause, StarlingsError) else "tool_failed"
        return StepFailed(
            str(self), code=code, retryable=info.retryable, retry_after_s=info.retry_after_s
        )


async def run_named_tool(agent: Agent, ready: StepReady, ctx: StepContext, spent: Spent) -> Result:
    """Call the tool that the step names; no model is asked.

    Raises:
        StepFailed: `unknown_tool`, `arguments_invalid`, or what the tool failed with.
    """
    tool = agent.tools.get(ready.tool or "")
    if tool is None:
        has = ", ".join(agent.tools) or "none"
        raise StepFailed(
            f"agent {agent.name!r} has no tool {ready.tool!r}; it has {has}",
            code="unknown_tool",
        )
    call = PlannedCall(tool, ready.args or {})
    problems = tool.problems(call.args)
    if problems:
        raise StepFailed("; ".join(problems), code="arguments_invalid")
    try:
        return await _make(call, call.args, 0, ctx, spent)
    except _ToolFailedError as failed:
        raise failed.as_step_failed() from failed.cause


async def run_tool_plan(agent: Agent, ready: StepReady, ctx: StepContext, spent: Spent) -> Result:
    """Let a model choose the calls, and make them.

    Raises:
        StepFailed: `no_model`, `cannot` (the model's own word), `model_…`, or what a tool failed
            with.
        TransientError: the model, or what a tool needs, may work later.
    """
    return await _ToolPlan(agent, ready, ctx, spent).run()


class _ToolPlan:
    def __init__(self, agent: Agent, ready: StepReady, ctx: StepContext, spent: Spent) -> None:
        self._agent = agent
        self._ready = ready
        self._ctx = ctx
        self._spent = spent
        self._prompt = packaged_prompt("starlings.agents", "tool_plan")
        self._last: Result | None = None
        self._asked = 0
        self._planned = ""  # names the answer that the calls belong to
        self._made: list[Result] = []

    async def run(self) -> Result:
        messages = [
            {"role": "system", "content": _system_prompt(self._agent, self._prompt)},
            {"role": "user", "content": _user_prompt(self._ready)},
        ]
        calls, answer = await self._ask(messages)
        try:
            return await self._make_all(calls)
        except _ToolFailedError as failed:
            if error_info(failed.cause).retryable and isinstance(failed.cause, StarlingsError):
                raise failed.as_step_failed() from failed.cause
            self._ctx.log.info("a tool failed; asking the model once more", error=str(failed))
            messages += _repair_messages(answer, failed, self._last)
        calls, _ = await self._ask(messages)
        try:
            return await self._make_all(calls)
        except _ToolFailedError as failed:
            raise failed.as_step_failed() from failed.cause

    async def _ask(self, messages: list[dict[str, str]]) -> tuple[list[PlannedCall], Any]:
        self._asked += 1
        value = await self._ctx.model.structured(
            messages,
            answer_schema(self._agent),
            name="tool_calls",
            validate=self._problems,  # also of a kept answer: the agent may have other tools by now
            adapt=adapt_answer,
            key=str(self._asked),
            label=self._prompt.label,
        )
        self._planned = f"{self._asked}/{_digest(value)}"
        if not value["calls"]:
            why = clean_text(str(value["cannot"]))
            raise StepFailed(f"agent {self._agent.name!r} cannot do this: {why}", code="cannot")
        return read_calls(value, self._agent, self._ready), value

    def _problems(self, answer: Any) -> list[str]:
        has_previous = self._last is not None
        return answer_problems(answer, self._agent, self._ready, has_previous=has_previous)

    async def _make_all(self, calls: list[PlannedCall]) -> Result:
        for position, call in enumerate(calls):
            args = call.filled(self._last.output if self._last else None)
            place = f"{OWN_PREFIX}call/{self._planned}/{position}"
            self._last = await _make(call, args, position, self._ctx, self._spent, place=place)
            self._made.append(self._last)
        if self._last is None:
            raise RuntimeError("a plan without calls is never made")
        return as_one(self._agent, self._last, self._made)


async def _make(
    call: PlannedCall,
    args: dict[str, JsonValue],
    position: int,
    ctx: StepContext,
    spent: Spent,
    *,
    place: str | None = None,
) -> Result:
    record = ToolCall(
        tool=call.tool.name,
        args={name: recorded(value) for name, value in args.items()},
        reasoning=call.reasoning,
    )
    try:
        if place is None:
            result = await call.tool.call(args, ctx)
        else:
            result = await call_once(call.tool, args, ctx, place)
    except CallRefused:
        raise
    except Exception as error:
        record = record.model_copy(update={"error": clean_text(describe(error))})
        spent.calls.append(record)
        raise _ToolFailedError(record, position, error) from error
    spent.calls.append(record.model_copy(update={"output": recorded(result.output)}))
    spent.add(result.usage)
    return result


def _digest(answer: JsonValue) -> str:
    return hashlib.sha256(to_json(answer)).hexdigest()[:12]


# -- what the model is told ------------------------------------------------------------------------


def _system_prompt(agent: Agent, prompt: Prompt) -> str:
    tools = tool_list(tool.definition for tool in agent.tools.values())
    rules = prompt.filled(previous=PREVIOUS, most=MAX_CALLS)
    parts = [f"{agent_role(agent.name)}\n{agent.description}", rules, tools, agent.instructions]
    return "\n\n".join(part for part in parts if part)


def _user_prompt(ready: StepReady) -> str:
    return render_task(ready.model_copy(update={"task": task_lines(ready.task, ready.input)}))


def _repair_messages(
    answer: Any, failed: _ToolFailedError, last: Result | None
) -> list[dict[str, str]]:
    made = failed.position
    lines = [
        f"Call {made + 1} failed. Its arguments were, and what it said is:",
        f"{RESULTS_OPEN}\n{_shown(failed.call.args)}\n{_shown(str(failed))}\n{RESULTS_CLOSE}",
    ]
    if last is not None:
        lines.append(
            f'The calls before it have been made; the output of the last one is "{PREVIOUS}" for '
            f"your next call:\n{RESULTS_OPEN}\n{_shown(last.output)}\n{RESULTS_CLOSE}"
        )
    lines.append(
        "Answer with the calls that are still to be made, mended, in the same form; do not repeat "
        'calls that were made. Where it cannot be mended, give no calls and say why in "cannot".'
    )
    return [
        {"role": "assistant", "content": json.dumps(answer, ensure_ascii=False)},
        {"role": "user", "content": "\n".join(lines)},
    ]


def _shown(value: JsonValue) -> str:
    text = escaped_json(value)  # data: it closes no tags
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
