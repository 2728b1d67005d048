"""`starlings diff`: two runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from starlings.cli.event_options import FromFile
from starlings.cli.guard import command, complain
from starlings.cli.options import Json

Left = Annotated[str, typer.Argument(metavar="RUN", help="One run: its id, or `latest`.")]
Right = Annotated[str, typer.Argument(metavar="RUN", help="The other.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "diff", rich_help_panel="Debugging")(diff)


async def diff(left: Left, right: Right, *, from_file: FromFile = None, json: Json = False) -> None:
    """Compare two runs: their plans, the results of their steps, cost and time."""
    from starlings.cli.difference_page import difference_document, print_difference  # noqa: PLC0415
    from starlings.cli.forking import recorded_runs  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.replay.difference import difference  # noqa: PLC0415

    if left == right:
        raise typer.BadParameter(f"both are {left}: name two runs")
    runs = await recorded_runs([left, right], from_file=from_file)
    if runs[0].run_id == runs[1].run_id:  # `latest` is known once it is looked up
        raise typer.BadParameter(
            f"`latest` is {runs[0].run_id}, too: name another run to compare it with"
        )
    for run in runs:
        for lost in run.unreadable:
            complain(f"a fact of {run.run_id} is left out: {lost.type or lost.id} {lost.problem}")
    ours, theirs = (run.now for run in runs)
    found = difference(ours, theirs)
    if json:
        print_json(difference_document(found))
    else:
        print_difference(console(), found)
