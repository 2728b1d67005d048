"""Options by which records are chosen, the same for all commands that read the log."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from .times import parse_duration, parse_time

if TYPE_CHECKING:
    from starlings.replay.selection import Selection

_OFFSETS = re.compile(r"(\d{0,18})\.\.(\d{0,18})")
PANEL = "Which"


class Offsets(NamedTuple):
    """Offsets of each partition, both included."""

    first: int | None
    last: int | None


def parse_moment(text: str) -> int:
    """Read a time, or how long ago, as Unix milliseconds.

    Raises:
        BadParameter: it is neither.
    """
    try:
        return int((time.time() - parse_duration(text)) * 1000)
    except typer.BadParameter:
        pass
    try:
        return int(parse_time(text).timestamp() * 1000)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is neither a time nor how long ago; write it like 2026-05-01T18:00:00, or 2h"
        ) from None


def parse_offsets(text: str) -> Offsets:
    """Read `100..200`, `100..` or `..200`.

    Raises:
        BadParameter: it is none of these.
    """
    match = _OFFSETS.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        raise typer.BadParameter(
            f"{text!r} is no range of offsets; write it like 100..200, 100.. or ..200"
        )
    return Offsets(*(int(number) if number else None for number in match.groups()))


def _names(what: str, metavar: str, *names: str) -> Any:
    return typer.Option(
        *names, metavar=metavar, help=f"{what}; may be repeated.", rich_help_panel=PANEL
    )


Runs = Annotated[list[str] | None, _names("Only of this run", "RUN")]
Types = Annotated[list[str] | None, _names("Only of this type, as step_done", "TYPE", "--type")]
Agents = Annotated[list[str] | None, _names("Only of this agent, or variant (math.large)", "NAME")]
Steps = Annotated[list[str] | None, _names("Only about this step", "ID")]
Outcomes = Annotated[
    list[str] | None,
    _names("Only with this outcome: ok, error, cancelled, completed, …", "OUTCOME"),
]
Failed = Annotated[
    bool,
    typer.Option(
        "--failed",
        help="Only what tells that something went wrong: errors, time limits, refusals.",
        rich_help_panel=PANEL,
    ),
]
Since = Annotated[
    Any,
    typer.Option(
        parser=parse_moment,
        metavar="TIME",
        help="Not older: a time, or how long ago (2h, 30s).",
        rich_help_panel=PANEL,
    ),
]
Until = Annotated[
    Any,
    typer.Option(parser=parse_moment, metavar="TIME", help="Not newer.", rich_help_panel=PANEL),
]
OffsetRange = Annotated[
    Any,
    typer.Option(
        "--offsets",
        parser=parse_offsets,
        metavar="FIRST..LAST",
        help="Of each partition that is read; FIRST.. and ..LAST will do.",
        rich_help_panel=PANEL,
    ),
]
Partitions = Annotated[list[int] | None, _names("Only of this partition", "N")]
AllTopics = Annotated[
    bool,
    typer.Option(
        "--all-topics",
        help="Also requests, work of the agents, domain events and dead letters.",
        rich_help_panel=PANEL,
    ),
]
FromFile = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Read this archive instead of Kafka; `events export` writes such files.",
        rich_help_panel=PANEL,
    ),
]


def selection(
    *,
    run: list[str] | None = None,
    type_: list[str] | None = None,
    agent: list[str] | None = None,
    step: list[str] | None = None,
    outcome: list[str] | None = None,
    failed: bool = False,
    since: int | None = None,
    until: int | None = None,
    offsets: Offsets | None = None,
    partition: list[int] | None = None,
) -> Selection:
    """Make a selection of what was given.

    Raises:
        ConfigError: nothing can fit it, or a name is unknown.
    """
    from starlings.replay.selection import Selection  # noqa: PLC0415 - `--help` stays fast

    first, last = offsets or Offsets(None, None)
    return Selection(
        runs=frozenset(run or ()),
        types=frozenset(type_ or ()),
        agents=frozenset(agent or ()),
        steps=frozenset(step or ()),
        outcomes=frozenset(outcome or ()),
        partitions=frozenset(partition or ()),
        failed=failed,
        since_ms=since,
        until_ms=until,
        first=first,
        last=last,
    )
