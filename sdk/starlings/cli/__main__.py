"""`starlings`, also as `python -m starlings.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the process ends with the command's exit code."""
    try:
        from .app import app  # noqa: PLC0415 - an extra, which may be missing
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"starlings: the command line needs starlings[cli] ({error.name} is missing)")
    app(prog_name="starlings")


if __name__ == "__main__":
    main()
