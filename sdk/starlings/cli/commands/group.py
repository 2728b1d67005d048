"""`starlings group`: where consumer groups stand, and moving one that nobody is in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.exits import EPILOG
from starlings.cli.guard import command, complain
from starlings.cli.options import Json
from starlings.cli.times import parse_duration, parse_time

if TYPE_CHECKING:
    from starlings.client import Client
    from starlings.replay.done_again import Effects, Preview
    from starlings.replay.group_moves import GroupMove
    from starlings.replay.groups import Group, Standing

NAMES = "An agent (math, math.v2), planner, coordinator, or a group's id."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Consumer groups: where they stand, and moving one back.",
        no_args_is_help=True,
        epilog=EPILOG,
    )
    functions: tuple[Callable[..., Any], ...] = (show, rewind)
    for function in functions:
        command(group, function.__name__)(function)
    app.add_typer(group, name="group", rich_help_panel="Operation")


def parse_target(text: str) -> datetime | int | str:
    """Read where to move: `beginning`, `end`, an offset, a time, or how long ago.

    Raises:
        BadParameter: it is none of these.
    """
    text = text.strip()
    if text in {"beginning", "end"}:
        return text
    if text.isdecimal():
        return int(text)
    if text[:1].isdecimal() and text[-1:].isalpha() and "t" not in text.lower():
        return datetime.now().astimezone() - timedelta(seconds=parse_duration(text))
    return parse_time(text)


async def show(
    name: Annotated[str | None, typer.Argument(metavar="GROUP", help=NAMES)] = None,
    *,
    json: Json = False,
) -> None:
    """Show where groups stand, who is in them, and what they have not done; or one in detail."""
    from starlings.cli.group_pages import print_groups, print_standing  # noqa: PLC0415 - fast help
    from starlings.cli.group_pages import standing_document as document  # noqa: PLC0415
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        found = await _standings(kafka, name)
    if json:
        documents = [document(kafka.topics, each) for each in found]
        print_json(documents if name is None else documents[0])
    elif name is None:
        print_groups(console(), kafka.topics, found)
    else:
        print_standing(console(), found[0])


async def _standings(kafka: Client, name: str | None) -> list[Standing]:
    from starlings.replay.groups import find_group, list_groups, standing  # noqa: PLC0415 - as above

    if name is not None:
        groups: list[Group] = [await find_group(kafka.connection, kafka.topics, name)]
    else:
        groups = await list_groups(kafka.connection, kafka.topics)
    return [await standing(kafka.connection, group) for group in groups]


async def rewind(
    name: Annotated[str, typer.Argument(metavar="GROUP", help=NAMES)],
    *,
    to: Annotated[
        Any,
        typer.Option(
            parser=parse_target,
            metavar="WHERE",
            help="A time, how long ago (1h), an offset with --partition, beginning, or end.",
        ),
    ],
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    forward: Annotated[
        bool,
        typer.Option(
            "--forward", help="Also forward: what lies between is never done, its runs may wait."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; show what would run again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Move a group that nobody is in to another place: what lies behind it runs again.

    Shows first what would run again, what of it may take effect a second time, and what is dropped.
    """
    from starlings.cli.group_pages import move_document, print_move  # noqa: PLC0415 - fast help
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415
    from starlings.replay.group_moves import make_move, refuse_while_alive  # noqa: PLC0415

    async with client() as kafka:
        move, preview, effects = await _look(kafka, name, to, partition, forward=forward)
        if not json:
            print_move(console(), move, preview, effects)
        group = move.standing.group
        if move.changes and not dry_run:
            await refuse_while_alive(kafka.connection, kafka.codec, kafka.topics, group)
            if not yes:
                typer.confirm(f"Move the group {group.id}?", abort=True, err=True)
            await make_move(kafka.connection, kafka.codec, kafka.topics, move)
    done = bool(move.changes) and not dry_run
    if json:
        print_json(move_document(move, preview, effects, done=done))
    elif done:
        complain(f"{group.id} was moved; what is to run again does so when it is started")
    else:
        complain("nothing was moved" if dry_run else "nothing is to be moved")


async def _look(
    kafka: Client, name: str, to: datetime | int | str, partition: int | None, *, forward: bool
) -> tuple[GroupMove, Preview, Effects | None]:
    from starlings.replay.done_again import Effects  # noqa: PLC0415 - `--help` stays fast
    from starlings.replay.group_moves import plan_move  # noqa: PLC0415
    from starlings.replay.groups import find_group, standing  # noqa: PLC0415
    from starlings.replay.looking_ahead import LookAhead  # noqa: PLC0415

    group = await find_group(kafka.connection, kafka.topics, name)
    found = await standing(kafka.connection, group)
    move = await plan_move(kafka.connection, found, to, partition=partition, forward=forward)
    preview = await LookAhead(kafka.connection, kafka.codec, kafka.topics).at(move)
    if not group.agent:
        return move, preview, None
    registry = await kafka.registry()
    return move, preview, Effects.of(group.agent, registry.agents.get(group.agent))
