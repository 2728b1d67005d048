"""A tool's call within a plan: what it gave is kept with all that the step makes of it.

Where the model goes on after a failure, what the failure said is kept as well: a call that came to
nothing then does not come to something behind the model's back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from starlings.messages import Amendment, Compensation, StarlingsError, StepFailed, Usage

from .call_record import Asked, CallRefused
from .context import StepContext
from .tools import Tool
from .values import Result, clean_text


async def call_once(tool: Tool, args: Mapping[str, Any], ctx: StepContext, place: str) -> Result:
    """Call a tool, or give what it gave before a crash; an idempotent one is called again.

    `place` names the call among all of the step; the tool's own calls are remembered below it.

    Raises:
        Exception: what `Tool.call` raises; that is not kept.
    """
    own = replace(ctx, memory=ctx.memory.within(f"{place}/"))
    asked = Asked("tool", tool.name, args, idempotent=tool.idempotent)

    async def make() -> JsonValue:
        return _written(await tool.call(args, own))

    found: Any
    if tool.idempotent:
        found = await ctx.memory.again(place, make, asked=asked)
    else:
        found = await ctx.memory.plain(place, make, asked=asked)
    if "error" in found:  # from a record of another strategy, which tells failures to its model
        raise StepFailed(found["error"], code="tool_failed")
    return _read(found)


@dataclass(frozen=True)
class Gave:
    """What a call gave, or what its failure said."""

    result: Result | None = None
    error: str | None = None

    @property
    def output(self) -> JsonValue:
        """What the tool returned; null where it failed."""
        return None if self.result is None else self.result.output


async def told_once(tool: Tool, args: Mapping[str, Any], ctx: StepContext, place: str) -> Gave:
    """Call a tool, or give what it gave or said before a crash; an idempotent one is called again.

    Raises:
        StarlingsError: the tool's own word that it may work later; that is not kept.
    """
    own = replace(ctx, memory=ctx.memory.within(f"{place}/"))

    async def make() -> Gave:
        try:
            return Gave(await tool.call(args, own))
        except Exception as error:
            if isinstance(error, CallRefused) or _may_work_later(error):
                raise
            ctx.log.info("a tool failed; the model is told", tool=tool.name, exc_info=error)
            return Gave(error=clean_text(describe(error)))

    asked = Asked("tool", tool.name, args, idempotent=tool.idempotent)

    async def kept() -> JsonValue:
        gave = await make()
        return _written(gave.result) if gave.result is not None else {"error": gave.error}

    found: Any
    if tool.idempotent:
        found = await ctx.memory.again(place, kept, asked=asked)
    else:
        found = await ctx.memory.plain(place, kept, asked=asked)
    return Gave(error=found["error"]) if "error" in found else Gave(_read(found))


def _may_work_later(error: Exception) -> bool:
    return isinstance(error, StarlingsError) and error.retryable


def describe(error: Exception) -> str:
    """Say what an exception says, or at least what it is."""
    if isinstance(error, StarlingsError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _written(result: Result) -> JsonValue:
    undo = result.undo
    said: dict[str, JsonValue] = {
        "output": result.output,
        "summary": result.summary,
        "usage": result.usage.model_dump(mode="json") if result.usage else None,
        "undo": undo.model_dump(mode="json") if isinstance(undo, Compensation) else undo,
    }
    if result.amend is not None:
        said["amend"] = result.amend.model_dump(mode="json")
    if result.replan is not None:
        said["replan"] = result.replan
    return said


def _read(kept: Any) -> Result:
    usage, undo, amend = kept["usage"], kept["undo"], kept.get("amend")
    return Result(
        output=kept["output"],
        summary=kept["summary"],
        usage=Usage.model_validate(usage) if usage else None,
        undo=undo if isinstance(undo, bool) else Compensation.model_validate(undo),
        amend=Amendment.model_validate(amend) if amend else None,
        replan=kept.get("replan"),
    )
