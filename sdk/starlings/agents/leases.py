"""Whether the holders of claims are alive, judged by what is *seen* of them, never by clocks.

A claim has expired when no renewal of it was seen for a whole lease, on our own monotonic clock,
while the log could be read to its end all the time. Where we could not read (a broker was away, or
this process stood still), every claim gets a whole lease anew: its holder could not write either,
or we would not have seen it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Work = tuple[int, str]  # number of its partition, and its name


@dataclass(slots=True)
class _Sighting:
    seen: float
    lease_s: float


class Leases:
    """Claims of others, and when a sign of life of each was last seen."""

    def __init__(self, *, gap_s: float) -> None:
        self._gap_s = gap_s
        self._sightings: dict[Work, _Sighting] = {}
        self._current: float | None = None

    def __len__(self) -> int:
        return len(self._sightings)

    def __contains__(self, key: Work) -> bool:
        return key in self._sightings

    def __iter__(self) -> Iterator[Work]:
        return iter(list(self._sightings))

    def seen(self, key: Work, now: float, *, lease_s: float) -> None:
        """Note a claim or its renewal."""
        self._sightings[key] = _Sighting(now, lease_s)

    def forget(self, key: Work) -> None:
        """Note that a claim has ended."""
        self._sightings.pop(key, None)

    def current(self, now: float) -> None:
        """Note that the log has been read to its end."""
        before, self._current = self._current, now
        if before is None or now - before > self._gap_s:
            for sighting in self._sightings.values():
                sighting.seen = now

    def expired(self, key: Work) -> bool:
        """Say whether a claim's holder is to be taken for dead."""
        sighting = self._sightings.get(key)
        if sighting is None or self._current is None:
            return False
        return self._current - sighting.seen > sighting.lease_s
