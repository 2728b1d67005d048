"""`starlings doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starlings.cli.guard import command
from starlings.cli.options import Json
from starlings.cli.times import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from starlings.cli.checkup import Finding, Verdict

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
WHAT_WIDTH = 16
WIDE = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", rich_help_panel="Operation")(doctor)


async def doctor(
    *,
    deployment: Annotated[
        bool,
        typer.Option(
            "--deployment", help="Look at an installation at work instead of at this machine."
        ),
    ] = False,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With --deployment: this Kafka user must be allowed to be planner, coordinator, "
            "client, operator, watcher, or this agent; may be repeated.",
        ),
    ] = None,
    patience: Annotated[
        Any,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="With --deployment: how long a step without a timeout may be silent.",
        ),
    ] = "1h",
    since: Annotated[
        Any,
        typer.Option(
            parser=parse_duration,
            metavar="DURATION",
            help="With --deployment: how far back to look for runs that could not be undone.",
        ),
    ] = "24h",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 also where something is only to be seen.")
    ] = False,
    json: Json = False,
) -> int:
    """Look at everything that has to be right; exit code 1 where something is not.

    With --deployment: topics, copies, rights, groups, versions, clocks, runs that stand still, dead
    letters. It changes nothing.
    """
    from starlings.cli.checkup import Verdict, examine  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.deployment import Looking, examine_deployment  # noqa: PLC0415
    from starlings.cli.exits import Exit  # noqa: PLC0415

    if service and not deployment:
        raise typer.BadParameter("--service needs --deployment: add it")
    looking = Looking(service or (), timedelta(seconds=patience), timedelta(seconds=since))
    found = examine_deployment(looking) if deployment else examine()
    verdicts = await _report(found, json=json)
    bad = {Verdict.FAIL, Verdict.WARN} if strict else {Verdict.FAIL}
    return Exit.FAILED if bad & verdicts else Exit.OK


async def _report(found: AsyncIterator[Finding], *, json: bool) -> set[Verdict]:
    from starlings.cli.printing import console, print_json  # noqa: PLC0415

    out = console()
    findings = []
    async for finding in found:
        findings.append(finding)
        if not json:
            _print(out, finding)
    if json:
        print_json([finding.document() for finding in findings])
    return {finding.verdict for finding in findings}


def _print(out: Console, finding: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415 - `--help` stays fast

    from starlings.cli.printing import clean, say  # noqa: PLC0415

    mark, style = MARKS[finding.verdict.value]
    said = Text(clean(finding.said, 1_000))
    if finding.remedy:
        said.append(
            f"\n{'' if out.is_terminal else ' ' * (WHAT_WIDTH + 6)}→ {finding.remedy}", style="bold"
        )
    if out.width >= WIDE:
        say(out, said, head=f"{mark}  {finding.what:<{WHAT_WIDTH - 2}}  ", style=style)
    else:
        say(out, Text.assemble(finding.what, ": ", said), head=f"{mark}  ", style=style)
