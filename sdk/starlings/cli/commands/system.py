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
        typer.Argument(
            help="Agents beside these: module:agent, folder/file.py:agent, a folder that "
            "`starlings new agent` wrote, or the name of an installed one."
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Run all installed agents, not only the usual four.")
    ] = False,
    builtin: Annotated[
        bool,
        typer.Option("--builtin/--no-builtin", help="Run math, sensor, string and weather too."),
    ] = True,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start an agent again when it changes.")
    ] = True,
) -> int:
    """Run the whole system in this terminal until Ctrl-C."""
    from starlings.cli.dev import cast  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.dev import dev as run_dev  # noqa: PLC0415
    from starlings.cli.printing import console  # noqa: PLC0415

    if everything and not builtin:
        raise typer.BadParameter("--all and --no-builtin contradict each other: give one of them")
    chosen = cast(agents or [], builtin=builtin, everything=everything, reload=reload)
    return await run_dev(console(), chosen)
