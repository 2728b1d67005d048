"""`starlings demo` and `starlings dev`: the whole system on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from starlings.cli.guard import command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "demo", rich_help_panel="Begin here")(demo)
    command(app, "dev", rich_help_panel="Begin here")(dev)


async def demo() -> int:
    """Show the whole system once: a real Kafka, separate processes, one request, its result."""
    from starlings.cli.demo import demo as run_demo  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import console  # noqa: PLC0415

    return await run_demo(console())


async def dev(
    agents: Annotated[
        list[str] | None,
        typer.Argument(help="Agents of your own: module:agent or folder/file.py:agent."),
    ] = None,
    *,
    builtin: Annotated[
        bool, typer.Option("--builtin/--no-builtin", help="Run the built-in agents too.")
    ] = True,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start an agent again when it changes.")
    ] = True,
) -> int:
    """Run the whole system in this terminal until Ctrl-C."""
    from starlings.cli.dev import dev as run_dev  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import console  # noqa: PLC0415

    return await run_dev(console(), agents or [], builtin=builtin, reload=reload)
