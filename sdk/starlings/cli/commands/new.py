"""`starlings new agent`: a folder to begin with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from starlings.cli.exits import EPILOG
from starlings.cli.guard import command


class AgentKind(StrEnum):
    """What an agent can be, as `scaffold.KINDS` has it."""

    FUNCTION = "function"
    TOOLS = "tools"
    JOB = "job"
    SENSOR = "sensor"
    REACT = "react"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    new = typer.Typer(help="Begin something of your own.", no_args_is_help=True, epilog=EPILOG)
    new.callback()(_alone)
    command(new, "agent")(agent)
    app.add_typer(new, name="new", rich_help_panel="Agents")


def _alone() -> None:
    """Begin something of your own."""


def agent(
    name: Annotated[str, typer.Argument(help="The agent's name, and that of its topic.")],
    *,
    kind: Annotated[
        AgentKind,
        typer.Option(
            help="One function, tools that a model chooses, jobs of another system, a sensor that "
            "waits, or reactions to events."
        ),
    ] = AgentKind.FUNCTION,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", metavar="FOLDER", help="Where; else a folder of the agent's name."),
    ] = None,
) -> None:
    """Write a folder with an agent, its test, and what ships it; nothing is overwritten."""
    from starlings.cli.scaffold import KINDS, write_agent  # noqa: PLC0415 - `--help` stays fast

    into = folder or Path(name)
    for path in write_agent(name, kind.value, into):
        typer.echo(f"wrote {path}")
    typer.echo("\nWhat to do next:")
    go = [] if into.resolve() == Path.cwd() else [f"cd {into}"]
    trial = f"starlings agent try . {KINDS[kind.value].trial}"
    for line in (*go, "pytest", trial, "starlings dev ."):
        typer.echo(f"  {line}")
