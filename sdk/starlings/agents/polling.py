"""When to look at something again that takes its time: a pure schedule, without a clock.

The same age and the same number of looks always give the same wait, so that whoever takes a job
over goes on as its predecessor would have done. Who takes over thousands at once looks at them
spread over one interval each, by a share that depends on the job's key alone.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

LONGEST_WAIT_S = 86_400.0
_GROWTHS_MOST = 64  # looks after which an interval grows no more: factors are powers


@dataclass(frozen=True, slots=True)
class Polling:
    """How long to wait before each look: `first_s`, growing by `factor`, up to `most_s`."""

    first_s: float = 1.0
    factor: float = 1.5
    most_s: float = 30.0

    def problem(self) -> str | None:
        """Say what is wrong with it; None where it is right."""
        values = (self.first_s, self.factor, self.most_s)
        if not all(math.isfinite(value) for value in values):
            return "intervals and their factor have to be finite numbers"
        if not 0 < self.first_s <= LONGEST_WAIT_S:
            return f"the first interval is {self.first_s:g} s; it has to be above 0 and up to a day"
        if not 1 <= self.factor <= 100:  # noqa: PLR2004 - any more is a mistake
            return f"the intervals grow by {self.factor:g}; it has to be from 1 to 100"
        if not self.first_s <= self.most_s <= LONGEST_WAIT_S:
            return (
                f"the longest interval is {self.most_s:g} s; it has to be from the first one "
                f"({self.first_s:g} s) up to a day"
            )
        return None

    def wait_s(self, looks: int, *, retry_after_s: float | None = None) -> float:
        """Say how long to wait after so many looks; who was looked at may ask for another wait."""
        if retry_after_s is not None and math.isfinite(retry_after_s):
            return min(max(retry_after_s, 0.0), LONGEST_WAIT_S)
        growths = min(looks, _GROWTHS_MOST)
        return float(min(self.first_s * self.factor**growths, self.most_s))

    def looks_by(self, age_s: float) -> int:
        """Say how many looks there have been after so long, had each been on time."""
        looks, passed = 0, self.wait_s(0)
        while passed <= age_s and looks < _GROWTHS_MOST:
            looks += 1
            passed += self.wait_s(looks)
        return looks

    def takeover_wait_s(self, key: str, age_s: float) -> float:
        """Say how long a new owner waits before its first look, spread by the key."""
        return share_of(key) * self.wait_s(self.looks_by(max(age_s, 0.0)))


def share_of(key: str) -> float:
    """Give a share from 0 to 1 that is always the same for a key, and even over many."""
    return zlib.crc32(key.encode()) / 0x1_0000_0000
