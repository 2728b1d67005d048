"""The command line as a whole; every command registers itself from its own module."""

from __future__ import annotations

from typing import Annotated

import typer

from .commands import (
    agents,
    broker,
    control,
    diff,
    dlq,
    doctor,
    emit,
    events,
    group,
    incident,
    new,
    plan,
    replay,
    run,
    runs,
    system,
    topics,
)
from .exits import EPILOG

app = typer.Typer(
    name="starlings",
    help="Plans of AI agents, run as choreography on Kafka.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # noqa: PLC0415 - seldom needed

        typer.echo(f"starlings {version('starlings')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Plans of AI agents, run as choreography on Kafka."""


for module in (
    system,
    run,
    emit,
    runs,
    control,
    plan,
    agents,
    new,
    topics,
    events,
    group,
    replay,
    incident,
    diff,
    dlq,
    broker,
    doctor,
):
    module.register(app)
