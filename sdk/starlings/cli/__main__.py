"""`starlings`, also as `python -m starlings.cli`."""

from __future__ import annotations

from .app import app


def main() -> None:
    """Run the command line; the process ends with the command's exit code."""
    app(prog_name="starlings")


if __name__ == "__main__":
    main()
