"""Travelling by single keys in a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator

from rich.console import Console
from rich.text import Text

from starlings.messages import ConfigError
from starlings.replay.travel import Travel

from .event_options import parse_moment
from .printing import clean
from .travel_page import print_moment

NEXT, PREVIOUS, FIRST, LAST, JUMP, HELP, QUIT = "next", "previous", "first", "last", "g", "?", "q"
KEYS = {
    **dict.fromkeys(("n", " ", "j", "\r", "\x1b[C", "\x1b[B"), NEXT),
    **dict.fromkeys(("p", "k", "b", "\x7f", "\x1b[D", "\x1b[A"), PREVIOUS),
    **dict.fromkeys(("0", "\x1b[H"), FIRST),
    **dict.fromkeys(("$", "G", "\x1b[F"), LAST),
    **dict.fromkeys(("g", "/"), JUMP),
    **dict.fromkeys(("?", "h"), HELP),
    **dict.fromkeys(("q", "\x03", "\x04", ""), QUIT),
}
HELP_TEXT = (
    "n, →, space  the next fact        p, ←  the one before\n"
    "0            the first            $     the last\n"
    "g            jump: an offset, a step's next fact, or a time\n"
    "?            this help            q     quit"
)
PROMPT = "n next  p previous  g jump  ? help  q quit"


def interactive() -> bool:
    """Tell whether somebody sits at a terminal that keys can be read from."""
    return os.name == "posix" and sys.stdin.isatty() and sys.stdout.isatty()


def travel_by_keys(
    travel: Travel, out: Console, key: Callable[[], str], ask: Callable[[], str]
) -> None:
    """Go where the keys say, until they say that it is enough."""
    note = ""
    while True:
        out.clear()
        print_moment(out, travel)
        out.print()
        out.print(Text(note or PROMPT, style="yellow" if note else "dim"))
        note = ""
        move = KEYS.get(key())
        if move == QUIT:
            return
        if move == JUMP:
            note = _jump(travel, ask())
        elif move == HELP:
            note = HELP_TEXT
        elif move is not None:
            note = _step(travel, move)


def _step(travel: Travel, move: str) -> str:
    last = len(travel.facts) - 1
    to = {NEXT: travel.number + 1, PREVIOUS: travel.number - 1, FIRST: 0, LAST: last}[move]
    if not 0 <= to <= last:
        return "there is nothing after the last fact" if to > last else "this is the first fact"
    travel.go(to)
    return ""


def _jump(travel: Travel, said: str) -> str:
    """Go where somebody wants to; say why not, where that is nowhere."""
    said = said.strip()
    if not said:
        return ""
    try:
        travel.go(place_of(travel, said))
    except ConfigError as error:
        return clean(error, 300)
    return ""


def place_of(travel: Travel, said: str) -> int:
    """Find the fact that an offset, a step or a time names.

    Raises:
        ConfigError: there is none.
    """
    if any(said == step_id for step_id in (travel.run.steps if travel.run else ())):
        return travel.at_step(said)
    if said.replace(",", "").isdigit():
        return travel.at_offset(int(said.replace(",", "")))
    try:
        at_ms = parse_moment(said)
    except Exception as error:
        raise ConfigError(
            f"{said!r} is no offset, no step of the run, and no time; write it like 1234, "
            "2026-05-01T18:00:00 or 2h"
        ) from error
    return travel.at_time(at_ms)


@contextlib.contextmanager
def keyboard() -> Generator[tuple[Callable[[], str], Callable[[], str]]]:
    """Read single keys, and lines where one is asked for; the terminal is put back at the end."""
    import termios  # noqa: PLC0415 - not on every system
    import tty  # noqa: PLC0415

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def key() -> str:
        try:
            return os.read(number, 8).decode(errors="replace")
        except KeyboardInterrupt:
            return ""

    def ask() -> str:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        try:
            return input("offset, step or time: ")
        except (EOFError, KeyboardInterrupt):
            return ""
        finally:
            tty.setcbreak(number, termios.TCSADRAIN)

    tty.setcbreak(number, termios.TCSADRAIN)  # keys that were typed ahead are not lost
    try:
        yield key, ask
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
