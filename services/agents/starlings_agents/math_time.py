"""Units of time, durations and dates of the `math` agent.

Units have one exact length each: from nanoseconds to weeks. Months and years have none; they belong
to a date, and are counted by the calendar (proleptic Gregorian, as ISO 8601 has it).
"""

from __future__ import annotations

import calendar
import re
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from .numbers import Number, Whole, give, read_number, refuse

Unit = Literal[
    "nanoseconds", "microseconds", "milliseconds", "seconds", "minutes", "hours", "days", "weeks"
]  # fmt: skip
SECONDS: dict[str, Fraction] = {
    "nanoseconds": Fraction(1, 10**9),
    "microseconds": Fraction(1, 10**6),
    "milliseconds": Fraction(1, 1_000),
    "seconds": Fraction(1),
    "minutes": Fraction(60),
    "hours": Fraction(3_600),
    "days": Fraction(86_400),
    "weeks": Fraction(604_800),
}
_SHORT = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "µs": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "sec": "seconds",
    "m": "minutes",
    "min": "minutes",
    "h": "hours",
    "hr": "hours",
    "d": "days",
    "w": "weeks",
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]+)\s*(?:,|and)?\s*")
_CLOCK = re.compile(r"([0-9]{1,9}):([0-5][0-9])(?::([0-5][0-9](?:\.[0-9]{1,9})?))?")
_SHOWN = ("weeks", "days", "hours", "minutes", "seconds")
_MOST = 10**9

Count = Annotated[Whole, Field(ge=-_MOST, le=_MOST)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


def convert_time(amount: Number, unit: Unit, to: Unit) -> int | float:
    """Converts an amount of time into another unit: 90 minutes are 1.5 hours."""
    return give(amount * SECONDS[unit] / SECONDS[to])


def read_duration(text: Text) -> int | float:
    """Reads a duration such as "1h30m", "2 days 4 hours" or "01:30:00"; gives seconds."""
    words = text.strip().lower()
    clock = _CLOCK.fullmatch(words)
    if clock:
        hours, minutes, seconds = clock.groups(default="0")
        return give(int(hours) * 3_600 + int(minutes) * 60 + read_number(seconds))
    seconds_in_all, place = Fraction(0), 0
    while place < len(words):
        part = _PART.match(words, place)
        if part is None:
            raise _no_duration(text)
        seconds_in_all += read_number(part[1]) * SECONDS[_unit(part[2], text)]
        place = part.end()
    return give(seconds_in_all)


def _unit(word: str, text: str) -> str:
    name = _SHORT.get(word) or _SHORT.get(word.removesuffix("s"), word)
    name = name if name.endswith("s") else f"{name}s"
    if name not in SECONDS:
        raise _no_duration(text)
    return name


def _no_duration(text: str) -> Exception:
    return refuse(
        f"{text!r} is no duration: write it like 1h30m, 2 days 4 hours or 01:30:00, in units from "
        "nanoseconds to weeks (months and years have no fixed length: use add_to_date)"
    )


def write_duration(seconds: Number) -> str:
    """Writes seconds in words: 5400 are "1 hour 30 minutes"."""
    left, parts = abs(seconds), []
    for unit in _SHOWN[:-1]:
        count = left // SECONDS[unit]
        left -= count * SECONDS[unit]
        if count:
            parts.append(f"{count} {unit[:-1] if count == 1 else unit}")
    if left or not parts:
        parts.append(f"{give(left)} {'second' if left == 1 else 'seconds'}")
    return ("minus " if seconds < 0 else "") + " ".join(parts)


def days_between(start: date, end: date) -> int:
    """Counts the days from one date (YYYY-MM-DD) to another; negative where it lies before."""
    return (end - start).days


def time_between(start: datetime, end: datetime, unit: Unit = "seconds") -> int | float:
    """Says how much time lies between two moments (ISO 8601); those without a zone are in UTC."""
    passed = _in_utc(end) - _in_utc(start)
    microseconds = passed // timedelta(microseconds=1)
    return give(Fraction(microseconds, 10**6) / SECONDS[unit])


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def add_to_date(
    start: date, *, days: Count = 0, weeks: Count = 0, months: Count = 0, years: Count = 0
) -> str:
    """Adds years, months, weeks and days to a date (YYYY-MM-DD); negative ones go back.

    Years and months come first; a day that the month does not have becomes its last one.
    """
    month = start.year * 12 + start.month - 1 + years * 12 + months
    year = month // 12
    if not MINYEAR <= year <= MAXYEAR:
        raise refuse("the date would lie outside of the years 1 to 9999")
    last = calendar.monthrange(year, month % 12 + 1)[1]
    moved = date(year, month % 12 + 1, min(start.day, last))
    try:
        return (moved + timedelta(days=days + 7 * weeks)).isoformat()
    except OverflowError:
        raise refuse("the date would lie outside of the years 1 to 9999") from None


def weekday(day: date) -> str:
    """Names the day of the week of a date (YYYY-MM-DD)."""
    return calendar.day_name[day.weekday()]


TOOLS = (
    convert_time,
    read_duration,
    write_duration,
    days_between,
    time_between,
    add_to_date,
    weekday,
)
