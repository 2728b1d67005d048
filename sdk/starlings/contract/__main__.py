"""`python -m starlings.contract write|check|release FOLDER`: the contract as files.

Exit codes: 0 all is well, 1 drift or a breaking change.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from .folder import broken_releases, drift, release, write


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m starlings.contract", description=__doc__)
    parser.add_argument("action", choices=("write", "check", "release"))
    parser.add_argument("folder", type=Path, help="the folder `schemas`")
    chosen = parser.parse_args(arguments)
    if chosen.action == "write":
        _say(f"written: {path}" for path in write(chosen.folder))
        return 0
    if chosen.action == "release":
        return _fail(release(chosen.folder), "this would break what was released:")
    drifted = _fail(drift(chosen.folder), "the contract has drifted; run `make schemas`:")
    broken = _fail(
        broken_releases(chosen.folder),
        "this breaks a released version; keep the old fields, or make a new version:",
    )
    return drifted or broken


def _fail(problems: list[str], headline: str) -> int:
    if not problems:
        return 0
    _say([headline, *(f"  {problem}" for problem in problems)])
    return 1


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
