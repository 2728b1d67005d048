"""`starlings replay fork`: a new run that goes on otherwise from what another one has come to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from starlings.cli.author import author
from starlings.cli.event_options import FromFile
from starlings.cli.guard import command, complain
from starlings.cli.options import Json, RunName, Wait
from starlings.cli.wishes import parse_settings, parse_variants

if TYPE_CHECKING:
    from starlings.client import RunHandle
    from starlings.messages import PlanInvalid, RunForked


def register(group: typer.Typer) -> None:
    """Add the command."""
    command(group, "fork")(fork)


async def fork(
    run: RunName,
    *,
    from_step: Annotated[
        str | None,
        typer.Option(
            metavar="STEP", help="Do this step anew, with all that depends on it; keep the rest."
        ),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option(min=0, metavar="OFFSET", help="Keep what was done by this fact of the run."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="model, temperature or prompt, for all steps that are done anew; STEP.NAME for "
            "one: also task, input, args, tool. May be repeated.",
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="A plan in place of all that is not kept: a file, or - for stdin."),
    ] = None,
    agent: Annotated[
        list[str] | None,
        typer.Option(metavar="AGENT=VARIANT", help="Use this variant of an agent; repeatable."),
    ] = None,
    run_id: Annotated[str | None, typer.Option(help="A name for the new run.")] = None,
    from_file: FromFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be kept and what would run.")
    ] = False,
    wait: Wait = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Begin it, print its id, and leave.")
    ] = False,
    json: Json = False,
) -> int:
    """Begin a new run on results of another one, and follow it; the other stays as it is.

    The new run is a real one: its steps act on the world, under idempotency keys of their own.
    """
    from starlings.cli.forking import known_agents, recorded_run, wishes_of  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415 - `--help` stays fast
    from starlings.client.client import new_run_id  # noqa: PLC0415
    from starlings.messages import PlanInvalid  # noqa: PLC0415
    from starlings.messages.base import ID_PATTERN  # noqa: PLC0415
    from starlings.replay.forking import fork_of  # noqa: PLC0415

    if run_id is not None and not re.fullmatch(ID_PATTERN, run_id):
        raise typer.BadParameter(f"--run-id {run_id!r} does not match {ID_PATTERN}")
    of_run, of_steps = parse_settings(set_ or [])
    variants = parse_variants(agent or [])
    wishes = wishes_of(from_step, plan, of_run, of_steps, variants)
    told = await recorded_run(run, from_file=from_file, until=at)
    async with client() as kafka:
        known, name = await known_agents(kafka), run_id or new_run_id()
        try:
            fact = fork_of(told, wishes, run_id=name, known=known, requested_by=author())
        except PlanInvalid as invalid:
            return _say_invalid(invalid, json=json)
        if dry_run:
            _preview(fact, json=json)
            return 0
        handle = await kafka.fork(fact, named=run_id is not None)
        return await _follow(handle, fact, wait=wait, no_wait=no_wait, json=json)


def _say_invalid(invalid: PlanInvalid, *, json: bool) -> int:
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import print_json  # noqa: PLC0415

    if json:
        print_json({"problems": [problem.model_dump(mode="json") for problem in invalid.problems]})
        return Exit.REJECTED
    complain("this fork makes no sense:")
    for problem in invalid.problems:
        complain(f"  - {problem}")
    return Exit.REJECTED


def _preview(fact: RunForked, *, json: bool) -> None:
    from starlings.cli.forking import fork_document, print_fork  # noqa: PLC0415 - as above
    from starlings.cli.printing import console, print_json  # noqa: PLC0415

    if json:
        print_json(fork_document(fact))
    else:
        print_fork(console(), fact)
        typer.echo("nothing was published (--dry-run)")


async def _follow(
    handle: RunHandle, fact: RunForked, *, wait: float | None, no_wait: bool, json: bool
) -> int:
    from starlings.cli.documents import run_document  # noqa: PLC0415 - as above
    from starlings.cli.following import end, follow, goes_on, leaving  # noqa: PLC0415
    from starlings.cli.forking import print_fork  # noqa: PLC0415
    from starlings.cli.printing import console, print_json  # noqa: PLC0415

    if no_wait:
        if json:
            print_json({"run_id": handle.run_id})
        else:
            typer.echo(handle.run_id)
        return 0
    if not json:
        print_fork(console(), fact)
        typer.echo("")
    with leaving(goes_on(handle.run_id)):
        view = await follow(handle, wait_s=wait, silent=json)
    if json:
        print_json(run_document(view))
    else:
        complain(f"compare them: starlings diff {fact.from_run} {fact.run_id}")
    return end(view)
