"""`starlings emit`: a domain event, for whoever listens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command, complain
from starlings.cli.options import Json

if TYPE_CHECKING:
    from pydantic import JsonValue


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "emit", rich_help_panel="Runs")(emit)


async def emit(
    event: Annotated[str, typer.Argument(metavar="TYPE", help="As in ticket_created.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="What has happened; - is standard input.")
    ] = "{}",
    *,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="ID", help="The run that it belongs to; else a new one."),
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--id", help="The event's own; the same again is the same event."),
    ] = None,
    json: Json = False,
) -> None:
    """Emit a domain event; agents that listen to its type react to it, and nobody plans it.

    Prints the id of its run, which `starlings show` draws.
    """
    from starlings.cli.printing import print_json  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.reach import client  # noqa: PLC0415

    value = _read(sys.stdin.read() if payload == "-" else payload)
    async with client() as kafka:
        handle = await kafka.emit(event, value, correlation_id=run, event_id=event_id)
    if json:
        print_json({"run_id": handle.run_id, "type": event})
        return
    typer.echo(handle.run_id)
    complain(f"emitted; what comes of it: starlings show {handle.run_id}")


def _read(text: str) -> JsonValue:
    """Read the payload.

    Raises:
        ConfigError: it is not JSON.
    """
    from pydantic_core import from_json  # noqa: PLC0415 - `--help` stays fast

    from starlings.messages import ConfigError  # noqa: PLC0415

    try:
        value: Any = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ConfigError(
            f"the payload is not JSON: {error}; write it as in '{{\"number\": 7}}'"
        ) from None
    return value  # type: ignore[no-any-return]
