"""`starlings run`: ask for a run, in words or with a plan, and see it through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command
from starlings.cli.options import AgentSpecs, Json, Wait, parse_pairs
from starlings.cli.times import parse_duration, parse_time

if TYPE_CHECKING:
    from starlings.messages import RunRequested

POLICIES = ("compensate", "stop", "continue", "skip_dependents", "replan")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "run", rich_help_panel="Runs")(run)


def _policy(text: str) -> str:
    if text not in POLICIES:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(POLICIES)}")
    return text


def run(
    request: Annotated[str, typer.Argument(help="What shall be done, in words.")] = "",
    *,
    plan: Annotated[
        str | None,
        typer.Option(help="A plan of your own: a YAML or JSON file, or - for standard input."),
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="A name for the run; the same name again is the same run.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    max_parallel: Annotated[int | None, typer.Option(min=1, help="Steps at once.")] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(
            parser=_policy,
            metavar="|".join(POLICIES),
            help="What a step's failure means for the others.",
        ),
    ] = None,
    max_replans: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="How often its steps may have it planned anew; twice."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration, metavar="DURATION", help="Limit of the whole run (30s, 5m)."
        ),
    ] = None,
    deadline: Annotated[
        Any, typer.Option(parser=parse_time, metavar="TIME", help="The same as a time (ISO 8601).")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT=NUMBER", help="tokens, cost_usd or wall_time_s; repeatable."),
    ] = None,
    wait: Wait = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Ask for it, print its id, and leave.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="In this process, without Kafka.")] = False,
    agents: AgentSpecs = None,
    json: Json = False,
) -> int:
    """Ask for a run and follow it to its end; Ctrl-C leaves it running."""
    _check_usage(request, plan, agents, local=local, no_wait=no_wait)
    asked = _request(
        request,
        plan,
        {
            "run_id": run_id,
            "tags": parse_pairs(tag),
            "max_parallel": max_parallel,
            "on_failure": on_failure,
            "max_replans": max_replans,
            "timeout_s": timeout,
            "deadline": deadline,
            "budget": _budget(budget),
        },
    )
    if local:
        return asyncio.run(_run_here(asked, agents or [], wait, json=json))
    return asyncio.run(_run_on_kafka(asked, wait, no_wait=no_wait, json=json))


def _budget(given: list[str] | None) -> dict[str, str] | None:
    from starlings.messages import Budget  # noqa: PLC0415 - `--help` stays fast

    limits = parse_pairs(given)
    for name in limits:
        if name not in Budget.model_fields:
            known = ", ".join(Budget.model_fields)
            raise typer.BadParameter(f"--budget knows no {name!r}, but {known}")
    return limits or None


def _check_usage(
    request: str, plan: str | None, agents: list[str] | None, *, local: bool, no_wait: bool
) -> None:
    if not request.strip() and plan is None:
        raise typer.BadParameter(
            'say what shall be done, as in starlings run "Calculate 5 factorial", or give a --plan'
        )
    if agents and not local:
        raise typer.BadParameter(
            "--agents belongs to --local; on Kafka, agents are processes: starlings agent run …"
        )
    if local and no_wait:
        raise typer.BadParameter(
            "--no-wait has no sense with --local, where nothing goes on: leave one of them out"
        )


def _request(words: str, plan: str | None, options: dict[str, Any]) -> RunRequested:
    """Put the request together; what the command line says outdoes what the file says.

    Raises:
        ConfigError: a field is wrong.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.plan_files import read_plan_file  # noqa: PLC0415
    from starlings.messages import ConfigError, RunRequested  # noqa: PLC0415

    given = read_plan_file(plan) if plan is not None else {}
    if words.strip():
        given["request"] = words
    given |= {name: value for name, value in options.items() if value not in (None, "", {})}
    try:
        return RunRequested.model_validate(given)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ConfigError(f"the request is wrong: {said}") from None


async def _run_here(
    asked: RunRequested, specs: list[str], wait: float | None, *, json: bool
) -> int:
    from starlings.cli.documents import run_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.exits import exit_of  # noqa: PLC0415
    from starlings.cli.following import follow, leaving  # noqa: PLC0415
    from starlings.cli.guard import complain  # noqa: PLC0415
    from starlings.cli.local import LocalStory, agents_for, announce_model  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415

    story = LocalStory(asked, agents_for(specs))
    if asked.plan is None:
        announce_model()
    with leaving("stopped: a local run ends with its process"):
        view = await follow(story, wait_s=wait, silent=json)
    if json:
        print_json(run_document(view))
    elif view.done is None:
        complain("stopped: the time to wait is over, and a local run ends with its process")
    return exit_of(view.done)


async def _run_on_kafka(
    asked: RunRequested, wait: float | None, *, no_wait: bool, json: bool
) -> int:
    from starlings.cli.documents import run_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.following import end, follow, goes_on, leaving  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        run = await kafka.submit_request(asked)
        if no_wait:
            _say_asked(run.run_id, json=json)
            return 0
        with leaving(goes_on(run.run_id)):
            if not json:
                typer.echo(f"Run  {run.run_id}\n")
            view = await follow(run, wait_s=wait, silent=json)
    if json:
        print_json(run_document(view))
    return end(view)


def _say_asked(run_id: str, *, json: bool) -> None:
    from starlings.cli.following import how_to_go_on  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.guard import complain  # noqa: PLC0415
    from starlings.cli.printing import print_json  # noqa: PLC0415

    if json:
        print_json({"run_id": run_id})
    else:
        typer.echo(run_id)
        complain(f"asked for; {how_to_go_on(run_id)}")
