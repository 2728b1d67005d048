"""`starlings topics grow`: more partitions, once they would tear nothing apart."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command, complain
from starlings.cli.options import Json
from starlings.cli.times import parse_duration

if TYPE_CHECKING:
    from starlings.cli.topic_names import Wanted
    from starlings.kafka.codec import Codec
    from starlings.replay.growing import Growth, Hindrance

LOOK_EVERY_S = 2.0
Name = Annotated[
    str, typer.Argument(metavar="TOPIC", help="requests, events, or steps.math; also in full.")
]
Wait = Annotated[
    Any,
    typer.Option(
        parser=parse_duration,
        metavar="DURATION",
        help="Wait so long for what stands against it, telling what that is.",
    ),
]
Quiet = Annotated[
    Any,
    typer.Option(
        parser=parse_duration,
        metavar="DURATION",
        help="For events: how old the last fact has to be; repeats are known for ten minutes.",
    ),
]


def register(topics: typer.Typer) -> None:
    """Add the command."""
    command(topics, "grow")(grow)


async def grow(
    topic: Name,
    *,
    partitions: Annotated[int, typer.Option(min=2, max=10_000, help="How many there shall be.")],
    wait: Wait = None,
    quiet: Quiet = "10m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; tell what stands against it.")
    ] = False,
    json: Json = False,
) -> int:
    """Give a topic more partitions, and then look whether it has them.

    Keys move to other partitions, so no run may be open, and nobody may write by the old ones: exit
    code 7, and nothing is done, while that is so. The log is checked afterwards by `replay verify`.
    """
    from starlings.cli.exits import Exit  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.topic_names import wanted_topics  # noqa: PLC0415
    from starlings.kafka.codec import Codec  # noqa: PLC0415
    from starlings.replay.growing import grow as grow_now  # noqa: PLC0415
    from starlings.replay.growing import plan_growth  # noqa: PLC0415

    wanted = await wanted_topics([])
    codec = Codec(source="starlings/cli", blobs=_blobs())
    growth = await plan_growth(wanted.connection, wanted.topics, topic, partitions)
    left = await _waited(wanted, codec, growth, wait_s=wait or 0.0, quiet_s=quiet)
    if not left and not dry_run:
        await grow_now(wanted.connection, growth)
        await _look_again(wanted, growth)
    _tell(growth, left, done=not left and not dry_run, json=json)
    return Exit.REFUSED if left else Exit.OK


def _blobs() -> Any:
    from starlings.blobs import BlobStore  # noqa: PLC0415 - `--help` stays fast
    from starlings.service import ServiceSettings, load_settings  # noqa: PLC0415

    return BlobStore(load_settings(ServiceSettings).blobs_url)


async def _waited(
    wanted: Wanted, codec: Codec, growth: Growth, *, wait_s: float, quiet_s: float
) -> list[Hindrance]:
    """Look until nothing stands against it, or the wait is over; return what does then."""
    from starlings.replay.growing import hindrances  # noqa: PLC0415 - `--help` stays fast

    until, told = time.monotonic() + wait_s, ""
    while True:
        left = await hindrances(
            wanted.connection,
            codec,
            wanted.topics,
            growth,
            now_ms=round(time.time() * 1000),
            quiet_ms=round(quiet_s * 1000),
        )
        if not left or time.monotonic() >= until:
            return left
        said = "; ".join(hindrance.remedy for hindrance in left)
        if said != told:
            told = said
            complain(f"waiting: {'; '.join(h.said for h in left)}. What helps: {said}")
        await asyncio.sleep(LOOK_EVERY_S)


async def _look_again(wanted: Wanted, growth: Growth) -> None:
    from starlings.messages import TransientError  # noqa: PLC0415 - `--help` stays fast

    for name in (growth.topic, *growth.along):
        has = len(await wanted.connection.partitions(name))
        if has != growth.partitions:
            raise TransientError(
                f"{name} has {has} partitions, not {growth.partitions}: run this again"
            )


def _tell(growth: Growth, left: list[Hindrance], *, done: bool, json: bool) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import console, print_json, say  # noqa: PLC0415

    if json:
        against = [{"said": each.said, "remedy": each.remedy} for each in left]
        print_json(
            {
                "topic": growth.topic,
                "along": list(growth.along),
                "before": growth.now,
                "partitions": growth.partitions,
                "done": done,
                "against": against,
            }
        )
        return
    out = console()
    for each in left:
        say(out, Text(f"{each.said} → {each.remedy}"))
    if left:
        complain(f"{growth.topic} keeps its {growth.now} partitions for now")
        return
    names = " and ".join((growth.topic, *growth.along))
    what = "have now" if done else "nothing stands against it; they would have"
    say(out, Text(f"{names}: {what} {growth.partitions} partitions (before: {growth.now})"))
    if done:
        rest = "start what was stopped; `starlings replay verify --all` checks the log"
        say(out, Text(rest))
