"""What is written about dead letters: that one was sent back, or given up; and how it is marked.

A dead letter is known by the place where its message lay first. A message that is sent back carries
that place and a count in a header, so that whoever reads its topic takes it for what it is: neither
a repeat of the message that was buried, nor a second one when it is sent back twice.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from .base import Message
from .envelope import Origin

REDRIVE_HEADER = "starlings_redrive"  # always the first header, so that looking for it is cheap
GROUP_HEADER = "starlings_group"
MOST_REDRIVES = 999_999

_ORIGIN = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,9})/(\d{1,19})")
_MARK = re.compile(r"([A-Za-z0-9._/-]{1,300})#(\d{1,6})")


class DeadLetterRedriven(Message):
    """A dead letter's message was sent back to where it came from."""

    NAME: ClassVar[str] = "dead_letter_redriven"

    origin: str = Field(description="topic/partition/offset where the message lay first")
    count: int = Field(ge=1, le=MOST_REDRIVES, description="1 for the first time")
    to: str = Field(default="", description="topic/partition/offset where it lies now")
    by: str = ""


class DeadLetterDiscarded(Message):
    """A dead letter was given up: nobody needs to look at it any more."""

    NAME: ClassVar[str] = "dead_letter_discarded"

    origin: str = Field(description="topic/partition/offset where the message lay first")
    count: int = Field(ge=0, le=MOST_REDRIVES, description="how often it had been sent back before")
    reason: str
    by: str = ""


def read_origin(text: str) -> Origin | None:
    """Read `topic/partition/offset`; None where it is none."""
    match = _ORIGIN.fullmatch(text)
    return Origin(match[1], int(match[2]), int(match[3])) if match else None


def redrive_mark(origin: Origin, count: int) -> bytes:
    """Write the value of the header that marks a message as sent back."""
    return f"{origin}#{count}".encode()


def read_redrive_mark(value: bytes | None) -> tuple[Origin, int] | None:
    """Read where a message that was sent back lay first, and how often it was; None if foreign."""
    match = _MARK.fullmatch((value or b"").decode(errors="replace"))
    origin = read_origin(match[1]) if match else None
    return (origin, int(match[2])) if match and origin and int(match[2]) else None
