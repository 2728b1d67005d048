"""Who gives a word to a run: it stands in the log, and is told to whoever comes second."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

LONGEST = 200

By = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Who says so, for the log; unless given, the user of this machine."
    ),
]


def author(by: str | None = None) -> str:
    """Say who speaks: the name that was given, else the operating system's user.

    Raises:
        BadParameter: the given name is empty, too long, or no line of text.
    """
    if by is None:
        return _user()
    name = by.strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise typer.BadParameter(f"--by needs a name in one line, of {LONGEST} characters at most")
    return name


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a number without a name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else ""
