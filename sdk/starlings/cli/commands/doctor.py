"""`starlings doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from starlings.cli.guard import command
from starlings.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from starlings.cli.checkup import Finding

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
WHAT_WIDTH = 16
WIDE = 60


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor", rich_help_panel="Operation")(doctor)


async def doctor(*, json: Json = False) -> int:
    """Look at everything that has to be right; exit code 1 where something is not."""
    from starlings.cli.checkup import Verdict, examine  # noqa: PLC0415 - `--help` stays fast
    from starlings.cli.exits import Exit  # noqa: PLC0415
    from starlings.cli.printing import console, print_json  # noqa: PLC0415

    out = console()
    findings = []
    async for finding in examine():
        findings.append(finding)
        if not json:
            _print(out, finding)
    if json:
        print_json([finding.document() for finding in findings])
    failed = any(finding.verdict is Verdict.FAIL for finding in findings)
    return Exit.FAILED if failed else Exit.OK


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
