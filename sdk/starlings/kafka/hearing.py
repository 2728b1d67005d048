"""A clock for judging silence: it stands still while nothing could have been heard.

Who has not heard of somebody for a while may conclude that the other one is gone, but only from the
time in which Kafka answered. An outage silences everybody alike, and says nothing of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Kafka answers a reader more often than this, also where it has nothing new.
ANSWERS_WITHIN_S = 2.0


class HearingClock:
    """Monotonic seconds, of those only in which Kafka answered, or had answered a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answered = clock()
        self._passed_s = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self._passed_s + min(self._clock() - self._answered, ANSWERS_WITHIN_S)

    def answered(self) -> None:
        """Note that Kafka has answered."""
        self._passed_s = self()
        self._answered = self._clock()
