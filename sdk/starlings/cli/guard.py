"""What all commands have in common: quiet logs, errors as one line, exit codes, Ctrl-C, pipes.

A command is a function, plain or async, that returns its exit code (None: fine). What it raises is
told in words: a `ConfigError` ends with 2, every other `StarlingsError` with 1.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from .exits import EPILOG, Exit

_WRONG = (
    "run_not_found",
    "step_not_found",
    "attempt_not_found",
    "dead_letter_not_found",
    "answer_invalid",
)
_REFUSED = "command_refused"
F = TypeVar("F", bound=Callable[..., Any])
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show log lines, and where an error came from.")
]


def command(app: typer.Typer, name: str | None = None, **options: Any) -> Callable[[F], F]:
    """Register a function as a command; `--verbose` is added to its options."""

    def register(function: F) -> F:
        app.command(name, epilog=EPILOG, **options)(_guarded(function))
        return function

    return register


def _guarded(function: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*, verbose: bool = False, **given: Any) -> None:
        raise typer.Exit(_run(function, given, verbose=verbose))

    signature = inspect.signature(function, eval_str=True)
    extra = inspect.Parameter(
        "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Verbose
    )
    parameters = [*signature.parameters.values(), extra]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _run(function: Callable[..., Any], given: dict[str, Any], *, verbose: bool) -> int:
    try:
        _prepare_output(verbose=verbose)
        result = function(**given)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        sys.stdout.flush()
        return int(result or Exit.OK)
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise  # wrong usage is told by Typer
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return closed_pipe()
    except Exception as error:
        return _say_error(error, verbose=verbose)


def _prepare_output(*, verbose: bool) -> None:
    from .quiet import quiet_logging, verbose_logging  # noqa: PLC0415 - not for `--help`

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show ✓ shows ?
    (verbose_logging if verbose else quiet_logging)()


def _say_error(error: Exception, *, verbose: bool) -> int:
    from starlings.messages import ConfigError, StarlingsError  # noqa: PLC0415 - as above

    if verbose:
        import traceback  # noqa: PLC0415 - as above

        traceback.print_exception(error)
    if isinstance(error, StarlingsError):
        complain(str(error))
        if error.code == _REFUSED:
            return Exit.REFUSED
        wrong = isinstance(error, ConfigError) or error.code in _WRONG
        return Exit.WRONG if wrong else Exit.FAILED
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    complain(f"{said} (--verbose shows where)")
    return Exit.BROKEN


def complain(text: str) -> None:
    """Say something on standard error, as text that cannot steer a terminal."""
    from .printing import printable  # noqa: PLC0415 - as above

    typer.echo(f"starlings: {printable(text)}", err=True)


def closed_pipe() -> int:
    """Go on in silence when whoever read our output has gone, as `head` does."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file
        pass
    finally:
        os.close(devnull)
    return Exit.PIPE
