"""The agent `code`: a step gives a program, or says in words what one shall find out.

A program that fails ends the step with its traceback, where the plan gave it; where a model wrote
it, the model is shown the traceback and mends it, a few times at most. A step that is tried again
after a crash asks for no program twice; a program may run twice, which does no harm: it can reach
nothing.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from starlings import Agent, Result, StepContext, StepFailed
from starlings.service.settings import load_settings

from .container import run_in_container
from .outcome import Outcome
from .sandbox import run_in_sandbox
from .settings import CodeSettings
from .writing import PROGRAM, first_messages, repair_messages

LONGEST_CODE = 100_000
RESULTS = "results"

agent = Agent(
    "code",
    description="Runs Python in a sandbox, without files and network: give the code, or say in "
    "words what to compute from the results of earlier steps",
    concurrency=4,
)


class Program(BaseModel):
    """A program and its data; without `code`, the task says in words what to write."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str | None = Field(default=None, min_length=1, max_length=LONGEST_CODE)
    inputs: dict[str, JsonValue] = Field(
        default_factory=dict, description="variables of the program, by name"
    )


@agent.step
async def run(task: str, ctx: StepContext, program: Program | None = None) -> Result:
    """Run a program and give its result and what it printed."""
    program = program or Program()
    settings = load_settings(CodeSettings)
    inputs = _variables(program, ctx)
    if program.code is not None:
        outcome = await _run(program.code, inputs, settings)
        if outcome.error is not None:
            raise outcome.failure("the program failed")
        return _result(program.code, outcome)
    if not task.strip():
        raise StepFailed(
            "say in `task` what to compute, or give the program as `input: {code: …}`",
            code="input_invalid",
        )
    return await _write_and_run(task, inputs, ctx, settings)


async def _write_and_run(
    task: str, inputs: dict[str, Any], ctx: StepContext, settings: CodeSettings
) -> Result:
    messages, outcome = first_messages(task, inputs), Outcome()
    for turn in range(1, settings.turns + 1):
        code = await PROGRAM.ask(ctx, turn, messages)
        await ctx.heartbeat({"turn": turn})
        outcome = await _run(code, inputs, settings)
        if outcome.error is None:
            return _result(code, outcome)
        ctx.log.info("the program failed", turn=turn, kind=outcome.kind)
        messages = [*messages[:2], *repair_messages(code, outcome)]
    raise outcome.failure(
        f"the model's program still fails after {settings.turns} turns (STARLINGS_CODE_TURNS)"
    )


async def _run(code: str, inputs: dict[str, Any], settings: CodeSettings) -> Outcome:
    if settings.backend == "container":
        return await run_in_container(code, inputs, settings)
    return await run_in_sandbox(code, inputs, settings)


def _variables(program: Program, ctx: StepContext) -> dict[str, Any]:
    for name in program.inputs:
        if not name.isidentifier() or name == RESULTS:
            raise StepFailed(
                f"inputs: {name!r} cannot be a variable's name"
                + (" (it holds the results of earlier steps)" if name == RESULTS else ""),
                code="input_invalid",
            )
    return {**program.inputs, RESULTS: dict(ctx.results)}


def _result(code: str, outcome: Outcome) -> Result:
    output: dict[str, Any] = {"result": outcome.result, "printed": outcome.printed, "code": code}
    if outcome.printed_cut:
        output["printed_cut"] = True
    said = outcome.result if outcome.result is not None else outcome.printed.strip()
    return Result(output=output, summary=str(said) if said not in (None, "") else None)
