"""A circuit breaker: a model that fails again and again is left alone for a while.

Closed: calls pass. Open: none passes until its time is over. Then one is let through; when that
goes well all pass again, else it stays open once more. A provider that asks for a wait longer than
we wait within a call is left alone for as long as it asks.

Kept per server and model for the life of the process. Times are durations on a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_S = 600.0
PROBING_S = 1.0  # what others are told to wait while one call finds out


class Circuit:
    """Whether one model of one server may be asked."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._opens_until = float("-inf")
        self._is_open = False
        self._probes = 0
        self.probe = 0  # the number of the call that finds out; 0: none does
        self.reason = ""

    def wait_s(self) -> float:
        """Say how long nobody may ask still; 0: the caller may, and has to tell how it went.

        `probe` is the caller's then: what it has to say where it gives up.
        """
        if not self._is_open:
            return 0.0
        remaining_s = self._opens_until - self._monotonic()
        if remaining_s > 0:
            return remaining_s
        if self.probe:
            return PROBING_S
        self._probes += 1
        self.probe = self._probes
        return 0.0

    def went_well(self) -> None:
        """Close it: the server answered, be it with a refusal."""
        self._failures = 0
        self._is_open = False
        self.probe = 0
        self.reason = ""

    def given_up(self, probe: int) -> None:
        """Hear that a call ended without a word on the server, by a cancellation for instance.

        One that was let through before it opened says nothing of the one that finds out.
        """
        if probe == self.probe:
            self.probe = 0

    def failed(
        self, reason: str, *, limit: int, open_s: float, asked_s: float | None, probe: int = 0
    ) -> None:
        """Count a failure of a call, which names the `probe` that it was, if it was one.

        `asked_s` is how long the server wants to be left alone. Where that is no time, and none is
        set either (`open_s`), the end of the call that finds out closes the circuit.
        """
        self._failures += 1
        self.reason = reason
        wait_s = asked_s or 0.0
        if self._failures >= limit or self.probe:
            wait_s = max(wait_s, open_s)
        if wait_s > 0:
            self._is_open = True
            until = self._monotonic() + min(wait_s, LONGEST_S)
            self._opens_until = max(self._opens_until, until)
            self.probe = 0
        elif probe and probe == self.probe:
            self._is_open = False
            self.probe = 0
