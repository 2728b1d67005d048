"""`starlings dlq`: messages that could not be handled, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.author import author
from starlings.cli.exits import EPILOG
from starlings.cli.guard import command, complain
from starlings.cli.options import Json
from starlings.cli.times import parse_duration

if TYPE_CHECKING:
    from starlings.client import Client, Refused, SentBack
    from starlings.kafka.letters import Letter

ALL = "all"
STATES = ("open", "redriven", "discarded", ALL)

Name = Annotated[
    str, typer.Argument(metavar="LETTER", help="Where the message lay: topic/partition/offset.")
]
Topic = Annotated[
    str | None, typer.Option(help="Only from this topic, with or without the prefix.")
]
Code = Annotated[str | None, typer.Option(help="Only with this error code.")]
Run = Annotated[str | None, typer.Option("--run", help="Only of this run.")]
Since = Annotated[
    float | None,
    typer.Option(parser=parse_duration, metavar="DURATION", help="Only put aside since then."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    dlq = typer.Typer(
        help="Dead letters: list, look into, send back, give up.",
        no_args_is_help=True,
        epilog=EPILOG,
    )
    functions: tuple[Callable[..., Any], ...] = (ls, show, redrive, discard)
    for function in functions:
        command(dlq, function.__name__)(function)
    app.add_typer(dlq, name="dlq", rich_help_panel="Operation")


def _state(text: str) -> str:
    if text not in STATES:
        raise typer.BadParameter(f"{text!r} is no state; there are: {', '.join(STATES)}")
    return text


async def ls(
    *,
    state: Annotated[
        Any,
        typer.Option(parser=_state, metavar="STATE", help="open, redriven, discarded or all."),
    ] = "open",
    topic: Topic = None,
    code: Code = None,
    run: Run = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    json: Json = False,
) -> None:
    """List dead letters, the newest first: those that wait for a decision."""
    from starlings.cli.letters import letter_document, print_letters  # noqa: PLC0415 - fast help
    from starlings.cli.printing import print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        found = await _find(kafka, state, topic=topic, code=code, run=run, since=since)
    found.reverse()
    if json:
        print_json([letter_document(letter, kafka.topics) for letter in found[:limit]])
    elif found:
        print_letters(found, limit, kafka.topics)
    else:
        complain("no such dead letter" if state == ALL else f"no dead letter is {state}")


async def _find(
    kafka: Client,
    state: str,
    *,
    topic: str | None,
    code: str | None,
    run: str | None,
    since: float | None,
) -> list[Letter]:
    from starlings.kafka.letters import LetterState  # noqa: PLC0415 - `--help` stays fast

    return await kafka.dead_letters.find(
        state=None if state == ALL else LetterState(state),
        topic=topic,
        code=code,
        run_id=run,
        since=datetime.now(UTC) - timedelta(seconds=since) if since else None,
    )


async def show(letter: Name, *, json: Json = False) -> None:
    """Show a dead letter: its headers, its value, the error, its history, what to do."""
    from starlings.cli.letters import content_document, print_letter  # noqa: PLC0415 - fast help
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        found = await kafka.dead_letters.get(letter)
        content = await kafka.dead_letters.content(found)
    if json:
        print_json(content_document(found, content, kafka.topics))
    else:
        print_letter(console(), found, content, kafka.topics)


async def redrive(
    letter: Annotated[
        list[str] | None,
        typer.Argument(metavar="LETTER...", help="Where the messages lay: topic/partition/offset."),
    ] = None,
    *,
    all_: Annotated[
        bool, typer.Option("--all", help="All that are open, or those of them that fit.")
    ] = False,
    topic: Topic = None,
    code: Code = None,
    run: Run = None,
    since: Since = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was redriven or discarded before.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also what nobody waits for any more.")
    ] = False,
    json: Json = False,
) -> int:
    """Send messages back to where they came from, untouched; safe to repeat.

    Exit code 1 where one was refused: it is said why.
    """
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415
    from starlings.client import Refused  # noqa: PLC0415

    given = (topic, code, run, since) != (None,) * 4
    if bool(letter) == all_ or (given and not all_):
        raise typer.BadParameter("name dead letters, or give --all with or without a filter")
    async with client() as kafka:
        if all_:
            found = await _find(kafka, "open", topic=topic, code=code, run=run, since=since)
            letter = [each.id for each in found]
        outcomes = await kafka.dead_letters.redrive(
            letter or [], again=again, force=force, by=author()
        )
    _print_outcomes(outcomes, prefix=kafka.topics.prefix, json=json)
    return Exit.FAILED if any(isinstance(each, Refused) for each in outcomes) else Exit.OK


def _print_outcomes(outcomes: list[SentBack | Refused], *, prefix: str, json: bool) -> None:
    from starlings.cli.letters import outcome_document  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.printing import clean, console, print_json  # noqa: PLC0415
    from starlings.client import SentBack  # noqa: PLC0415

    if json:
        print_json([outcome_document(each) for each in outcomes])
        return
    if not outcomes:
        complain("no open dead letter fits")
    out = console()
    for each in outcomes:
        name = clean(each.letter.id.removeprefix(prefix))
        if isinstance(each, SentBack):
            out.print(f"redriven  {name} → {each.to}", markup=False, soft_wrap=True)
        else:
            complain(f"{name} was not redriven: {each.why}")


async def discard(
    letter: Name,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the letter's history.")],
    json: Json = False,
) -> None:
    """Give a dead letter up: it stays readable, and is not listed as open any more."""
    from starlings.cli.printing import console, print_json  # noqa: PLC0415
    from starlings.cli.reach import client  # noqa: PLC0415

    async with client() as kafka:
        found = await kafka.dead_letters.discard(letter, reason, by=author())
    if json:
        print_json({"letter": found.id, "state": "discarded", "reason": reason})
    else:
        name = found.id.removeprefix(kafka.topics.prefix)
        console().print(f"discarded  {name}", markup=False, soft_wrap=True)
