"""An agent that is careless with secrets, for tests of what takes them out."""

from __future__ import annotations

from typing import Any

from starlings import Agent, StepContext, StepFailed

leaky = Agent("leaky", description="Lets secrets out")


@leaky.step
async def say(given: dict[str, Any], ctx: StepContext) -> Any:
    """Say what it was given, in one way or another."""
    if "fail" in given:
        raise StepFailed(f"401 from https://bot:{given['password']}@api.test/v1: {given['fail']}")
    if "large" in given:
        return {"text": "x" * int(given["large"]), "note": given.get("note", "")}
    return {"said": given, "of": dict(ctx.results)}
