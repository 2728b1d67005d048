"""`starlings topics`: the topics as they have to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.exits import EPILOG
from starlings.cli.guard import command
from starlings.cli.options import Json

from . import topics_acls, topics_grow

if TYPE_CHECKING:
    from starlings.cli.topic_names import Wanted
    from starlings.kafka.admin import TopicChange

AgentNames = Annotated[
    list[str] | None,
    typer.Option(
        "--agent",
        metavar="NAME",
        help="Topics of this agent (or variant, as in math.large) too, math=16 with as many"
        " partitions; may be repeated.",
    ),
]
EventTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--fact",
        metavar="TYPE",
        help="The topic of these domain events too, TYPE=16 with as many partitions;"
        " may be repeated.",
    ),
]
Builtin = Annotated[bool, typer.Option("--builtin", help="Topics of the built-in agents too.")]
Partitions = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Of topics that are created.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    topics = typer.Typer(
        help="Topics: create what is missing, tell what is wrong.",
        no_args_is_help=True,
        epilog=EPILOG,
    )
    functions: tuple[Callable[..., Any], ...] = (ensure, check, ls)
    for function in functions:
        command(topics, function.__name__)(function)
    topics_acls.register(topics)
    topics_grow.register(topics)
    app.add_typer(topics, name="topics", rich_help_panel="Operation")


async def ensure(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 where it would.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; tell what would be done.")
    ] = False,
    agent: AgentNames = None,
    fact: EventTypes = None,
    builtin: Builtin = False,
    partitions: Partitions = None,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition; else the broker's own.")
    ] = None,
    json: Json = False,
) -> int:
    """Create missing topics and mend settings; those of agents in the registry are included."""
    from starlings.kafka.admin import ensure_topics  # noqa: PLC0415 - `--help` stays fast

    wanted = await _wanted(agent, fact, builtin=builtin, partitions=partitions)
    if check or dry_run:
        changes = await _compare(wanted)
        return _report(changes, json=json, done=False, strict=check)
    changes = await ensure_topics(wanted.connection, wanted.specs, replication=replication)
    return _report(changes, json=json, done=True, strict=False)


async def check(
    *,
    agent: AgentNames = None,
    fact: EventTypes = None,
    builtin: Builtin = False,
    partitions: Partitions = None,
    json: Json = False,
) -> int:
    """Tell which topics are missing or wrong; exit code 1 where one is."""
    wanted = await _wanted(agent, fact, builtin=builtin, partitions=partitions)
    return _report(await _compare(wanted), json=json, done=False, strict=True)


async def ls(*, json: Json = False) -> None:
    """List the topics of this installation, and how many records lie in each."""
    from starlings.cli.printing import console, print_json, print_table  # noqa: PLC0415
    from starlings.cli.topic_names import list_topics  # noqa: PLC0415

    wanted = await _wanted(None, None, builtin=False, partitions=None)
    found = await list_topics(wanted)
    if json:
        print_json([entry.document() for entry in found])
        return
    rows = [[e.name, str(e.partitions), f"{e.records:,}", e.description] for e in found]
    print_table(console(), ("topic", "partitions", "records", "what for"), rows, right=(1, 2))


async def _wanted(
    agent: list[str] | None, fact: list[str] | None, *, builtin: bool, partitions: int | None
) -> Wanted:
    from starlings.cli.topic_names import wanted_topics  # noqa: PLC0415 - `--help` stays fast

    return await wanted_topics(
        agent or [], events=fact or [], builtin=builtin, partitions=partitions
    )


async def _compare(wanted: Wanted) -> list[TopicChange]:
    from starlings.kafka.admin import plan_topics  # noqa: PLC0415 - `--help` stays fast

    return await plan_topics(wanted.connection, wanted.specs)


def _report(changes: list[TopicChange], *, json: bool, done: bool, strict: bool) -> int:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.printing import console, print_json, print_table  # noqa: PLC0415

    wrong = [change for change in changes if change.action in ("create", "alter", "grow")]
    if json:
        print_json(
            [
                {"topic": c.name, "action": c.action.value, "details": c.details, "done": done}
                for c in changes
            ]
        )
    else:
        words = _DONE if done else _TO_DO
        rows: list[list[str | Text]] = [
            [c.name, Text(*words[c.action.value]), c.details] for c in changes
        ]
        print_table(console(), ("topic", "", ""), rows)
    return Exit.FAILED if strict and wrong else Exit.OK


_TO_DO = {
    "ok": ("ok", "green"),
    "create": ("to create", "yellow"),
    "alter": ("to mend", "yellow"),
    "grow": ("to grow", "yellow"),
    "by hand": ("by hand", "yellow"),
}
_DONE = {
    **_TO_DO,
    "create": ("created", "green"),
    "alter": ("mended", "green"),
    "grow": ("grown", "green"),
}
