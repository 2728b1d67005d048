"""The ids of a partition's latest records, by which repeats are known.

A decision that is published twice has the same id and the same key, so it lies in the same
partition, soon after the first. What is remembered is a window that ends at the newest record: all
of the last `window_s` seconds of *record time* (which neither a stopped consumer nor a wrong clock
shortens), and at least the last `at_least` records, but never more than `at_most`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

_STRIDE = 500  # forgetting goes in strides, so that remembering costs one dictionary entry


@dataclass(frozen=True, slots=True)
class Window:
    """How far back ids are remembered, and read back after an assignment."""

    window_s: float = 900.0
    at_least: int = 10_000
    at_most: int = 200_000


class RecentIds:
    """Ids in the order of their offsets; the first record with an id is the one that counts."""

    __slots__ = ("_first", "_marks", "_seen", "end", "window")

    def __init__(self, window: Window, *, end: int = 0) -> None:
        self.window = window
        self._first: dict[bytes, int] = {}
        self._marks: deque[tuple[int, int]] = deque()  # (offset, timestamp) at each stride
        self._seen = 0
        self.end = end  # all records of the window before this offset are known

    def __len__(self) -> int:
        return len(self._first)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._first

    def repeated(self, message_id: bytes, offset: int, timestamp_ms: int) -> bool:
        """Remember a record; say whether an earlier one of this partition had its id."""
        if offset >= self.end:
            self.end = offset + 1
            self._seen += 1
            if self._seen % _STRIDE == 0:
                self._forget(offset, timestamp_ms)
        return self._first.setdefault(message_id, offset) < offset

    def _forget(self, offset: int, timestamp_ms: int) -> None:
        marks = self._marks
        marks.append((offset, timestamp_ms))
        oldest = timestamp_ms - self.window.window_s * 1_000
        until = None
        while len(marks) > 1 and self._may_go(marks[0][1] < oldest):
            until = marks.popleft()[0]
        if until is not None:
            self._drop(until)

    def _may_go(self, outdated: bool) -> bool:  # noqa: FBT001 - the one thing it asks about
        kept = (len(self._marks) - 1) * _STRIDE
        return kept >= self.window.at_most or (outdated and kept >= self.window.at_least)

    def _drop(self, until: int) -> None:
        old: Iterable[bytes] = takewhile(lambda key: self._first[key] <= until, self._first)
        for key in list(old):
            del self._first[key]
