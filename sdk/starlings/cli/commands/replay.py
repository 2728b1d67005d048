"""`starlings replay`: recorded runs, folded again, compared, and run again.

Each command has a module of its own, `replay_<name>.py`, whose `register` adds it to this group.
"""

from __future__ import annotations

from types import ModuleType

import typer

from starlings.cli.exits import EPILOG

from . import replay_fork, replay_shadow, replay_step, replay_travel, replay_verify

group = typer.Typer(
    name="replay",
    help="Replay the log: verify, travel, run again.",
    no_args_is_help=True,
    epilog=EPILOG,
)
COMMANDS: tuple[ModuleType, ...] = (
    replay_step,
    replay_travel,
    replay_verify,
    replay_fork,
    replay_shadow,
)


def register(app: typer.Typer) -> None:
    """Add the group, with the commands that there are."""
    for module in COMMANDS:
        module.register(group)
    if COMMANDS:
        app.add_typer(group, rich_help_panel="Debugging")
