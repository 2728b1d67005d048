"""A tool's call within a plan: what it gave is kept with all that the step makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import JsonValue

from starlings.messages import Compensation, Usage

from .context import StepContext
from .tools import Tool
from .values import Result


async def call_once(tool: Tool, args: Mapping[str, Any], ctx: StepContext, place: str) -> Result:
    """Call a tool, or give what it gave before a crash; an idempotent one is called again.

    `place` names the call among all of the step; the tool's own calls are remembered below it.

    Raises:
        Exception: what `Tool.call` raises; that is not kept.
    """
    own = replace(ctx, memory=ctx.memory.within(f"{place}/"))
    if tool.idempotent:
        return await tool.call(args, own)

    async def make() -> JsonValue:
        return _written(await tool.call(args, own))

    return _read(await ctx.memory.plain(place, make))


def _written(result: Result) -> JsonValue:
    undo = result.undo
    return {
        "output": result.output,
        "summary": result.summary,
        "usage": result.usage.model_dump(mode="json") if result.usage else None,
        "undo": undo.model_dump(mode="json") if isinstance(undo, Compensation) else undo,
    }


def _read(kept: Any) -> Result:
    usage, undo = kept["usage"], kept["undo"]
    return Result(
        output=kept["output"],
        summary=kept["summary"],
        usage=Usage.model_validate(usage) if usage else None,
        undo=undo if isinstance(undo, bool) else Compensation.model_validate(undo),
    )
