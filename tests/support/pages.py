"""Reading what the command line draws, however wide the terminal is."""

from __future__ import annotations


def unwrapped(page: str) -> str:
    """Put the lines of a page into one, without the strokes of its trees."""
    return " ".join(page.replace("│", " ").split())
