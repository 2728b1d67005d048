"""`starlings agent try`: one step of an agent in this process, without a broker and without a run.

The agent's code is run as it is in production, jobs and sensors too: they are looked at until they
end, and Ctrl-C deletes what was begun.
"""

from __future__ import annotations

import asyncio
import json as json_module
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.options import Json
from starlings.cli.times import parse_duration

from .event_try import try_event

if TYPE_CHECKING:
    from starlings.agents import Agent
    from starlings.messages import StepDone, StepReady

RUN_ID, STEP_ID = "try", "step"


def try_agent(
    agent: Annotated[
        str,
        typer.Argument(
            metavar="AGENT",
            help="module:agent, folder/file.py:agent, or the name of an installed one.",
        ),
    ],
    *,
    task: Annotated[str, typer.Option(help="What shall be done, in words.")] = "",
    input: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(metavar="JSON", help="The step's input; @file reads a file.")
    ] = None,
    tool: Annotated[str | None, typer.Option(help="Call this tool; no model is asked.")] = None,
    args: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments of the tool; @file reads a file.")
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Hand it an event, with --input as what has happened."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="DURATION", help="Limit of the step (30s)."),
    ] = None,
    json: Json = False,
) -> int:
    """Do one step of an agent here and now, without Kafka, and show what comes of it.

    With --event, one of its reactions instead.
    """
    from starlings.agents.loading import load_agent  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.messages import StepOutcome  # noqa: PLC0415

    chosen = load_agent(agent)
    given = {
        "task": task,
        "input": _read("--input", input),
        "tool": tool,
        "args": _read("--args", args),
        "timeouts": {"run_s": timeout},
    }
    if event is not None:
        if task or tool or args or timeout:
            raise typer.BadParameter("--event takes --input alone beside it: leave the others out")
        return asyncio.run(try_event(chosen, event, given["input"], json=json))
    ready = _ready(chosen, {name: value for name, value in given.items() if value is not None})
    done = asyncio.run(_execute(chosen, ready, silent=json))
    if json:
        print_json(done.model_dump(mode="json", exclude={"run_id", "step_id", "instance", "kept"}))
    else:
        _show(done)
    return Exit.OK if done.outcome is StepOutcome.OK else Exit.FAILED


def _read(option: str, text: str | None) -> Any:
    from starlings.messages import ConfigError  # noqa: PLC0415 - `--help` stays fast

    if text is None:
        return None
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{option} {text}: the file cannot be read: {error}") from None
    try:
        return json_module.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{option} is no JSON ({error}); write it as in {option} '{{\"a\": 1}}'"
        ) from None


def _ready(agent: Agent, given: dict[str, Any]) -> StepReady:
    from pydantic import ValidationError  # noqa: PLC0415 - `--help` stays fast

    from starlings.messages import ConfigError, StepReady  # noqa: PLC0415

    if not agent.takes_steps:
        raise ConfigError(
            f"{agent.name} takes no steps; hand it an event: --event {next(iter(agent.reactions))}"
        )
    if not given["task"] and "input" not in given and "tool" not in given:
        raise ConfigError("say what the step is: give --task, --input or --tool")
    try:
        return StepReady(run_id=RUN_ID, step_id=STEP_ID, attempt=1, agent=agent.name, **given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--{where}: {first['msg']}") from None


async def _execute(agent: Agent, ready: StepReady, *, silent: bool) -> StepDone:
    from starlings.agents.execute import execute  # noqa: PLC0415 - `--help` stays fast
    from starlings.agents.models import AgentModels  # noqa: PLC0415
    from starlings.cli.local import announce_model  # noqa: PLC0415

    async def progress(said: Any) -> None:
        if not silent:
            _show_progress(said)

    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(AgentModels())
        model = models.of(agent)
        if agent.tools and ready.tool is None:
            announce_model()
            model = models.opened(agent)
        return await execute(agent, ready, model=model, heartbeat=progress)


def _show_progress(said: Any) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import clean, console  # noqa: PLC0415

    text = said if isinstance(said, str) else json_module.dumps(said, ensure_ascii=False)
    console().print(Text.assemble(("… ", "yellow"), clean(text)))


def _show(done: StepDone) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import clean, console, printable, say  # noqa: PLC0415

    out = console()
    for call in done.calls:
        given = json_module.dumps(call.args, ensure_ascii=False)
        out.print(Text(f"  {clean(call.tool)} {clean(given)}", style="dim"))
    took = f"  {done.duration_s:.2f} s"
    if done.error is not None:
        again = "; it may work later" if done.error.retryable else ""
        out.print(Text.assemble(("✗ ", "red"), (done.agent, "bold"), took))
        say(
            out,
            Text(f"{clean(done.error.code)}: {printable(done.error.message)}{again}"),
            head="  ",
        )
        return
    out.print(Text.assemble(("✓ ", "green"), (done.agent, "bold"), took))
    output = done.output
    text = (
        output
        if isinstance(output, str)
        else json_module.dumps(output, ensure_ascii=False, indent=2)
    )
    out.print(Text(printable(text)), soft_wrap=True)
