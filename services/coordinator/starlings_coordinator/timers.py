"""Timers of one partition, in the order in which they fall due.

The run's own table of timers is the truth; this is only an index into it. An entry whose timer is
gone is dropped when its time comes, one that was set anew is put back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from starlings.choreography import Run, Timer, TimerKey


class TimerQueue:
    """A heap of `(due, run, key)`."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, TimerKey]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, run_id: str, timer: Timer) -> None:
        """Note a timer that a fold has set."""
        heapq.heappush(self._heap, (timer.due_ms, run_id, timer.key))

    def next_due_ms(self) -> int | None:
        """Tell when to look again; None where no timer runs."""
        return self._heap[0][0] if self._heap else None

    def due(self, runs: Mapping[str, Run], now_ms: int) -> Iterator[tuple[Run, Timer]]:
        """Take out the timers whose time has come and that still run."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, run_id, key = heapq.heappop(self._heap)
            run = runs.get(run_id)
            current = run.timers.get(key) if run else None
            if run is None or current is None:
                continue
            if current > due_ms:
                heapq.heappush(self._heap, (current, run_id, key))
                continue
            yield run, Timer(key, current)
