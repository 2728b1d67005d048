"""Which runs and attempts have been told to stop, as far as `control` still tells.

`control` is short: an instance reads all of it before it starts its first step, and follows it from
then on. What is told there is forgotten after the topic's retention, and so it is here.
"""

from __future__ import annotations

from collections import OrderedDict

from starlings.messages import StopRequested

REMEMBERED = 100_000


class Stops:
    """Remembers stops by run; the newest `REMEMBERED` runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, dict[str, int] | None] = OrderedDict()

    def add(self, stop: StopRequested) -> None:
        """Note that a run, or some attempts of it, shall stop."""
        known = self._runs.pop(stop.run_id, {})
        if stop.attempts is None or known is None:
            self._runs[stop.run_id] = None  # the whole run
        else:
            self._runs[stop.run_id] = {**known, **stop.attempts}
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)

    def covers(self, run_id: str, step_id: str, attempt: int) -> bool:
        """Say whether an attempt shall not be worked on (any more)."""
        if run_id not in self._runs:
            return False
        attempts = self._runs[run_id]
        return attempts is None or attempts.get(step_id, 0) >= attempt
