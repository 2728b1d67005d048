"""Cooldowns: how long an agent starts nothing because a provider has asked for that.

Pure book-keeping. A cooldown is a duration, counted from when its record reached the reader, or
from the broker's timestamp where it is found lying there; the clocks of two instances are never
compared. None is longer than `LONGEST_S`, whatever somebody has written.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlings.messages import AgentCooldown

LONGEST_S = 600.0
FIRST_S = 2.0  # where the provider does not say how long; doubled each time in a row


class Cooldown:
    """What one agent has been told to wait."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ends = float("-inf")
        self.reason = ""

    def hear(self, said: AgentCooldown, *, age_s: float = 0.0) -> bool:
        """Take a cooldown in, which is so old already; say whether it makes the wait longer."""
        ends = self._monotonic() + clipped(said.for_s) - max(age_s, 0.0)
        if ends <= max(self._ends, self._monotonic()):
            return False
        self._ends, self.reason = ends, said.reason
        return True

    @property
    def remaining_s(self) -> float:
        """How long it lasts still; 0 where there is none."""
        return max(self._ends - self._monotonic(), 0.0)


def clipped(for_s: float) -> float:
    """Bound a wait that somebody asks for."""
    return min(max(for_s, 0.0), LONGEST_S)
