"""Options and arguments that several commands share, written once."""

from __future__ import annotations

from typing import Annotated

import typer

from .times import parse_duration

LATEST = "latest"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or `latest`.")]
AgentSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--agents",
        metavar="MODULE:AGENT",
        help="An agent of your own; may be repeated.",
    ),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=parse_duration,
        metavar="DURATION",
        help="Wait for the end no longer than this (30s, 5m); the run goes on.",
    ),
]


def parse_pairs(pairs: list[str] | None) -> dict[str, str]:
    """Read `key=value` texts.

    Raises:
        BadParameter: one has no `=`, or no key.
    """
    found = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise typer.BadParameter(f"{pair!r} is no tag; write --tag key=value")
        found[key.strip()] = value
    return found
