"""Durations and times as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

import typer

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])\s*")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LONGEST_S = 10 * 365 * _DAY


def parse_duration(text: str) -> float:
    """Read `30s`, `5m`, `1h30m`, `2d`, `250ms`, or a bare number of seconds.

    Raises:
        BadParameter: it is none of these, not positive, or beyond ten years.
    """
    text = text.strip().lower()
    seconds = _seconds(text)
    if seconds is None or not 0 < seconds <= _LONGEST_S:
        raise typer.BadParameter(
            f"{text!r} is no duration; write it like 30s, 5m, 1h30m or 2d, or as seconds"
        )
    return seconds


def _seconds(text: str) -> float | None:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is local.

    Raises:
        BadParameter: it is no time.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{text!r} is no time; write it like 2026-05-01T18:00:00 or 2026-05-01T18:00:00+02:00"
        ) from None


def duration_text(seconds: float) -> str:
    """Write a duration with the two units that matter."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, below, lower in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {lower}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def moment_text(at_ms: int, now: datetime | None = None) -> str:
    """Write a moment in local time: the clock for today, else the day too."""
    at = moment(at_ms)
    if at is None:
        return f"{at_ms} ms"
    now = now or datetime.now().astimezone()
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    return f"{at:%Y-%m-%d %H:%M}"


def iso(at_ms: int) -> str:
    """Write a moment for programs: ISO 8601 in UTC, or as `<number> ms` beyond the calendar."""
    at = moment(at_ms, UTC)
    return at.isoformat(timespec="milliseconds") if at else f"{at_ms} ms"


def moment(at_ms: int, zone: tzinfo | None = None) -> datetime | None:
    """Read a time of Kafka, by default as local time; None: it lies beyond the calendar.

    Whoever produces a record may write any number as its time.
    """
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return None
