"""`starlings runs`, `show`, `watch`, `output` and `cancel`: runs that somebody has asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.author import author
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, RunName, Wait, parse_pairs
from starlings.cli.times import duration_text, moment_text, parse_duration

if TYPE_CHECKING:
    from starlings.client import Client, RunSummary, RunView
    from starlings.messages import RunDone

ALL = "all"
OPEN = "open"
CANCEL_WITHIN_S = 15.0
PANEL = "Runs"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    functions: tuple[Callable[..., Any], ...] = (runs, show, watch, output, cancel)
    for function in functions:
        command(app, function.__name__, rich_help_panel=PANEL)(function)


# -- runs ----------------------------------------------------------------------------------------


def _since(text: str) -> float:
    return 0.0 if text.strip().lower() == ALL else parse_duration(text)


def _status(text: str) -> str:
    from starlings.client import STATUSES  # noqa: PLC0415 - `--help` stays fast

    if text not in (OPEN, *STATUSES):
        raise typer.BadParameter(f"{text!r} is none of {', '.join((OPEN, *STATUSES))}")
    return text


async def runs(
    *,
    since: Annotated[
        Any, typer.Option(parser=_since, metavar="DURATION", help="How far back, or `all`.")
    ] = "24h",
    status: Annotated[
        list[str] | None,
        typer.Option(
            parser=_status,
            metavar="STATUS",
            help="Only these: open, running, paused, asking, completed, failed, …; "
            "may be repeated.",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="Only with this; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    from starlings.cli.documents import summary_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    tags = parse_pairs(tag)
    begin = datetime.now(UTC) - timedelta(seconds=since) if since else None
    async with client() as kafka:
        listed = await kafka.runs(since=begin)
    found = [
        run
        for run in reversed(listed)
        if (not status or run.status in status or (OPEN in status and run.is_open))
        and tags.items() <= run.tags.items()
    ]
    if json:
        print_json([summary_document(run) for run in found[:limit]])
    else:
        _print_runs(found, limit, f"within {duration_text(since)}" if since else "in the log")


def _print_runs(found: list[RunSummary], limit: int, where: str) -> None:
    from rich.text import Text  # noqa: PLC0415 - as above

    from starlings.cli.printing import clean, console, print_table  # noqa: PLC0415
    from starlings.cli.story import OUTCOME_STYLES  # noqa: PLC0415

    out = console()
    if not found:
        complain(f"no such run {where}; --since reaches further back")
        return
    rows: list[list[str | Text]] = []
    for run in found[:limit]:
        took = duration_text((run.ended_ms - run.began_ms) / 1000) if run.ended_ms else ""
        style = OUTCOME_STYLES.get(run.status, "red" if run.ended_ms else "yellow")
        began, steps = moment_text(run.began_ms), f"{run.steps:,}"
        status = Text(run.status, style=style)
        asked = clean(run.request) or ("(a plan of its own)" if run.steps else "")
        if run.forked_from is not None:
            asked = f"fork of {clean(run.forked_from)}: {asked}"
        rows.append([clean(run.run_id), status, began, took, steps, asked])
    columns = ("run", "status", "began", "took", "steps", "request")
    print_table(out, columns, rows, right=(4,), one_line=True)
    if len(found) > limit:
        out.print(f"and {len(found) - limit:,} more {where}: --limit shows them", style="dim")


# -- show, watch ---------------------------------------------------------------------------------


async def show(run: RunName, *, json: Json = False) -> None:
    """Show a run as it stands: its plan, its steps, its result, where it lies on Kafka."""
    from starlings.cli.documents import run_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.run_page import print_run  # noqa: PLC0415

    view = await _view(run)
    if json:
        print_json(run_document(view))
    else:
        print_run(console(), view)


async def _view(name: str) -> RunView:
    from starlings.cli.following import run_named  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        return await (await run_named(kafka, name)).view()


async def watch(run: RunName, *, wait: Wait = None, json: Json = False) -> int:
    """Follow a run to its end; the exit code says how it ended. `--json`: one line per fact."""
    from starlings.cli.following import end, follow, goes_on, leaving, run_named  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        handle = await run_named(kafka, run)
        with leaving(goes_on(handle.run_id)):
            view = await follow(handle, wait_s=wait, lines=json)
    return end(view)


# -- output --------------------------------------------------------------------------------------


async def output(
    run: RunName = "latest",
    *,
    step: Annotated[str | None, typer.Option(help="The output of this step instead.")] = None,
    wait: Wait = None,
    json: Json = False,
) -> int:
    """Print a run's final result, or one step's output.

    As text: the result of the step that ends the plan; where several do, all in one line.
    """
    from starlings.cli.documents import done_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.following import end, follow, run_named  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        handle = await run_named(kafka, run)
        view = await (follow(handle, wait_s=wait, silent=True) if wait else handle.view())
    if step is not None:
        return _print_step(view, step, json=json)
    if view.done is None:
        return end(view)
    if json:
        print_json(done_document(view.done))
    else:
        _print_result(view, view.done)
    return end(view)


def _print_step(view: RunView, step_id: str, *, json: bool) -> int:
    from starlings.cli.documents import step_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.story import shown_value  # noqa: PLC0415
    from starlings.messages import ConfigError  # noqa: PLC0415

    state = view.run.steps.get(step_id) if view.run else None
    if state is None:
        there = ", ".join(list(view.run.steps)[:20]) if view.run else "none"
        raise ConfigError(f"run {view.run_id} has no step {step_id!r}; there are: {there}")
    if json:
        print_json(step_document(view, state))
    elif state.error is not None and state.settled:
        complain(f"step {step_id} failed: {state.error.message}")
    elif state.phase.value == "done":
        typer.echo(shown_value(state.output, limit=None))
    else:
        complain(f"step {step_id} is {state.phase.value}")
    if not state.settled:
        return Exit.NOT_ENDED
    return Exit.OK if state.phase.value == "done" else Exit.FAILED


def _print_result(view: RunView, done: RunDone) -> None:
    from starlings.cli.printing import printable  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.story import shown_value  # noqa: PLC0415

    last = [step for step in view.run.order if not step.dependents] if view.run else []
    if done.outcome.value == "completed" and len(last) == 1:
        typer.echo(shown_value(last[0].output, limit=None))
    elif done.text:
        typer.echo(printable(done.text))
    for problem in done.problems:
        complain(str(problem))
    if done.error is not None and not done.problems:
        complain(f"run {view.run_id} {done.outcome.value}: {done.error.message}")


# -- cancel --------------------------------------------------------------------------------------


async def cancel(
    run: RunName,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log.")] = "",
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait until it has ended.")
    ] = False,
    json: Json = False,
) -> int:
    """End a run now; what is at work is told to stop."""
    from starlings.cli.following import run_named  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        handle = await run_named(kafka, run)
        before = await _before_cancel(kafka, handle.run_id)
        if before.done is None:
            await handle.cancel(reason, requested_by=author())
        return await _cancelled(handle, before, wait=not no_wait, json=json)


async def _before_cancel(kafka: Client, run_id: str) -> RunView:
    """See a run that is to be cancelled; one that was asked for may not be planned yet.

    Raises:
        RunNotFound: nobody has asked for such a run.
    """
    from starlings.client import RunNotFound, RunView  # noqa: PLC0415 - `--help` stays fast

    try:
        return await kafka.run(run_id).view()
    except RunNotFound:
        if await kafka.was_requested(run_id):
            return RunView(run_id)
        raise


async def _cancelled(handle: Any, before: RunView, *, wait: bool, json: bool) -> int:
    from starlings.cli.documents import run_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.following import follow  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415

    view = before
    if wait and before.done is None and before.run is not None:
        view = await follow(handle, wait_s=CANCEL_WITHIN_S, silent=True)
    if json:
        print_json(run_document(view))
    elif before.done is not None:
        typer.echo(f"run {view.run_id} has ended already: {view.status}")
    elif view.done is not None:
        typer.echo(f"run {view.run_id} has ended: {view.status}")
    else:
        typer.echo(f"run {view.run_id} is told to end")
    waited_in_vain = wait and before.run is not None and view.done is None
    return Exit.NOT_ENDED if waited_in_vain else Exit.OK
