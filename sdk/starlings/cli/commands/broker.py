"""`starlings broker`: a real Apache Kafka on this machine, for development."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.exits import EPILOG
from starlings.cli.guard import command
from starlings.cli.options import Json

if TYPE_CHECKING:
    from starlings.broker import BrokerState

Data = Annotated[
    Path | None, typer.Option(help="Its folder; else the project's .starlings/broker.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    broker = typer.Typer(
        help="A real Apache Kafka on this machine, for development.",
        no_args_is_help=True,
        epilog=EPILOG,
    )
    functions: tuple[Callable[..., Any], ...] = (up, down, status, logs, reset)
    for function in functions:
        command(broker, function.__name__)(function)
    app.add_typer(broker, name="broker", rich_help_panel="Operation")


def _broker() -> ModuleType:
    try:
        import starlings.broker as module  # noqa: PLC0415 - an extra, and `--help` stays fast
    except ImportError as error:
        from starlings.messages import ConfigError  # noqa: PLC0415

        raise ConfigError(
            f"the local broker needs the extra starlings[broker] ({error.name} is not installed); "
            "or set KAFKA_BOOTSTRAP to a Kafka that runs"
        ) from None
    return module


def up(
    *,
    data: Data = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="9092 unless given; 0 takes a free one.")
    ] = None,
    json: Json = False,
) -> None:
    """Start it; it goes on until `starlings broker down`."""
    from starlings.cli.guard import complain  # noqa: PLC0415

    _print(_broker().up(data, port, progress=complain), json=json)


def down(*, data: Data = None, json: Json = False) -> None:
    """Stop it, and keep its data."""
    _print(_broker().down(data), json=json)


def status(*, data: Data = None, json: Json = False) -> int:
    """Tell whether it runs, and where; exit code 1 where it does not."""
    found = _broker().status(data)
    _print(found, json=json)
    return 0 if found.status == "running" else 1


def logs(
    *,
    data: Data = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many, the last.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Print what it has logged."""
    from starlings.cli.printing import printable  # noqa: PLC0415 - `--help` stays fast

    for line in _broker().logs(data, lines=lines, follow=follow):
        typer.echo(printable(line))


def reset(
    *,
    data: Data = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Stop it, and delete all its topics and messages."""
    module = _broker()
    if not yes:
        folder = data or module.default_data_folder()
        typer.confirm(f"Delete all topics and messages in {folder}?", abort=True, err=True)
    _print(module.reset(data), json=json)


def _print(state: BrokerState, *, json: bool) -> None:
    from starlings.cli.printing import print_json  # noqa: PLC0415 - `--help` stays fast

    if json:
        print_json(state.model_dump(mode="json"))
    else:
        typer.echo(state.message)
