"""A booking office: so many places of each kind, sold from a database of its own."""

from __future__ import annotations

import os
import sqlite3
from threading import Lock

_lock = Lock()
_db = sqlite3.connect(os.environ.get("TRAVEL_DB", ":memory:"), timeout=30, check_same_thread=False)
with _db:
    _db.execute(
        "CREATE TABLE IF NOT EXISTS bookings (key TEXT PRIMARY KEY, place TEXT, state TEXT)"
    )


def book(key: str, place: str, *, places: int) -> bool:
    """Book a place, once per key; False where all are taken, or the key has been cancelled."""
    taken = "SELECT count(*) FROM bookings WHERE place = ? AND state = 'booked'"
    booking = f"INSERT OR IGNORE INTO bookings SELECT ?, ?, 'booked' WHERE ({taken}) < ?"
    with _lock, _db:
        _db.execute(booking, (key, place, place, places))
        found = _db.execute("SELECT state FROM bookings WHERE key = ?", (key,)).fetchone()
    return found == ("booked",)


def cancel(key: str) -> None:
    """Cancel a booking. Again does no harm, nor does too early: then it is never made."""
    with _lock, _db:
        _db.execute("INSERT OR REPLACE INTO bookings VALUES (?, '', 'cancelled')", (key,))
