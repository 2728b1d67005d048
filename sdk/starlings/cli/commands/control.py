"""`starlings pause`, `resume`, `replan`, `retry`, `signal`, `approve`, `reject`, `answer`.

Words to a run. Each looks at it first and says why it can change nothing, where that is so;
else it waits until the log shows what came of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.author import By, author
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, RunName

if TYPE_CHECKING:
    from starlings.client import RunHandle, RunView

PANEL = "Runs"
StepName = Annotated[str, typer.Argument(metavar="STEP", help="The step's id.")]
Comment = Annotated[str, typer.Option(help="Why; the steps that follow can read it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    functions: tuple[Callable[..., Any], ...] = (pause, resume, replan, retry, signal)
    functions += (approve, reject, answer)
    for function in functions:
        command(app, function.__name__, rich_help_panel=PANEL)(function)


async def pause(
    run: RunName,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log.")] = "",
    json: Json = False,
) -> None:
    """Release no more steps of a run for now; those at work go on to their end."""
    who = author()
    view = await _told(run, lambda handle: handle.pause(reason, requested_by=who))
    at_work = view.run.out if view.run else 0
    left = f"; {at_work} of its steps are at work and go on" if at_work else ""
    _say(view, f"is paused{left}; `starlings resume {view.run_id}` lets it go on", json=json)


async def resume(run: RunName, *, json: Json = False) -> None:
    """Let a paused run go on."""
    who = author()
    view = await _told(run, lambda handle: handle.resume(requested_by=who))
    _say(view, "goes on", json=json)


async def replan(
    run: RunName,
    text: Annotated[str, typer.Argument(help="What shall be changed, in words.")],
    *,
    json: Json = False,
) -> None:
    """Have a run planned anew while it runs: the planner amends its plan as you say.

    Only what the change makes invalid is undone; everything else keeps its results.
    """
    who = author()
    view = await _told(run, lambda handle: handle.replan(text, requested_by=who))
    _say(view, f"is being planned anew; `starlings watch {view.run_id}` follows it", json=json)


async def retry(
    run: RunName,
    step: Annotated[
        str | None,
        typer.Argument(metavar="[STEP]", help="Of this step; else all that is not done."),
    ] = None,
    *,
    given: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="For the step, instead of its own input."),
    ] = None,
    compensation: Annotated[
        bool, typer.Option("--compensation", help="Undo again what could not be undone.")
    ] = False,
    json: Json = False,
) -> None:
    """Go on with a run that ended badly: do again what is not done, with fresh attempts.

    What is done stays done, and is not repeated.
    """
    value = _read_json(given, "--input")
    if value is not None and (step is None or compensation):
        raise typer.BadParameter("--input belongs to a STEP that is to be done again: name it")
    who = author()
    view = await _told(
        run,
        lambda handle: handle.retry(step, input=value, compensation=compensation, requested_by=who),
    )
    what = "undoes again what could not be undone" if compensation else "goes on"
    _say(view, f"{what}; `starlings watch {view.run_id}` follows it", json=json)


async def signal(
    run: RunName,
    name: Annotated[str, typer.Argument(help="The signal's name, as the plan has it.")],
    *,
    payload: Annotated[
        str | None, typer.Option(metavar="JSON", help="Becomes the waiting step's output.")
    ] = None,
    json: Json = False,
) -> None:
    """Send a signal to a run: for the step that waits for it, now or later."""
    value, who = _read_json(payload, "--payload"), author()
    view = await _told(run, lambda handle: handle.signal(name, value, sent_by=who))
    kept = len(view.run.signals.get(name, [])) if view.run else 0
    if kept:
        _say(view, f"keeps the signal {name!r} for a step that may wait for it", json=json)
    else:
        _say(view, f"has taken the signal {name!r}", json=json)


async def approve(
    run: RunName, step: StepName, *, comment: Comment = "", by: By = None, json: Json = False
) -> None:
    """Say yes to what a step asks."""
    who = author(by)
    view = await _told(run, lambda handle: handle.approve(step, comment, given_by=who))
    _say(view, f"goes on: step {step!r} is approved by {who}", json=json)


async def reject(
    run: RunName, step: StepName, *, comment: Comment = "", by: By = None, json: Json = False
) -> None:
    """Say no to what a step asks; the step fails, and the run does what its policy says."""
    who = author(by)
    view = await _told(run, lambda handle: handle.reject(step, comment, given_by=who))
    _say(view, f"has its answer: step {step!r} is rejected by {who}", json=json)


async def answer(
    run: RunName,
    step: StepName,
    *,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME=VALUE", help="A field of the form; repeat it."),
    ] = None,
    exact: Annotated[
        str | None, typer.Option("--json", metavar="JSON", help="All fields, as a JSON object.")
    ] = None,
    by: By = None,
) -> None:
    """Fill in the form that a step asks for."""
    values, typed, who = _read_json(exact, "--json"), _typed(field or []), author(by)
    if values is None and not typed:
        raise typer.BadParameter("give the fields: --field name=value …, or --json '{…}'")
    view = await _told(run, lambda handle: handle.answer(step, values, typed=typed, given_by=who))
    _say(view, f"has its answer: the form of step {step!r} is filled in by {who}", json=False)


def _typed(fields: list[str]) -> dict[str, str]:
    pairs = [field.partition("=") for field in fields]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise typer.BadParameter(f"--field {name!r} is no NAME=VALUE")
    return {name: text for name, _, text in pairs}


async def _told(name: str, tell: Callable[[RunHandle], Awaitable[RunView]]) -> RunView:
    from starlings.cli.following import run_named  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        handle = await run_named(kafka, name)
        try:
            return await tell(handle)
        except TimeoutError:
            complain(
                "the command is in the log, and could not be read back in time; "
                f"`starlings show {handle.run_id}` tells what came of it"
            )
            raise typer.Exit(_not_seen()) from None


def _not_seen() -> int:
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast

    return Exit.NOT_ENDED


def _say(view: RunView, what: str, *, json: bool) -> None:
    from starlings.cli.documents import run_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import print_json, printable  # noqa: PLC0415

    if json:
        print_json(run_document(view))
    else:
        typer.echo(printable(f"run {view.run_id} {what}"))


def _read_json(text: str | None, option: str) -> Any:
    """Read what was given on the command line.

    Raises:
        ConfigError: it is not JSON.
    """
    if text is None:
        return None
    from pydantic_core import from_json  # noqa: PLC0415 - `--help` stays fast

    from starlings.messages import ConfigError  # noqa: PLC0415

    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ConfigError(
            f"{option} is not JSON: {error}; write it as in {option} '{{\"number\": 7}}', "
            f"a text as in {option} '\"yes\"'"
        ) from None
