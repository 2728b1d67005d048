"""Which runs, attempts and tries to undo have been told to stop, as far as `control` still tells.

`control` is short: an instance reads all of it before it starts its first step, and follows it from
then on. What is told there is forgotten after the topic's retention, and so it is here.

- A stop covers attempts of its generation of the run and of earlier ones: a run that was reopened
  since then goes on.
- A run's stop, and one of forward attempts, covers no compensation: they are the way back. A try to
  undo is stopped only by a stop that names it; tries to undo another attempt are others.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from starlings.messages import CompensationReady, StepReady, StopRequested

REMEMBERED = 100_000


@dataclass(slots=True)
class _Told:
    """What a run has been told."""

    whole: int = -1  # up to which generation all of it
    attempts: dict[str, dict[int, int]] = field(default_factory=dict)  # step, generation, up to
    tries: dict[tuple[str, int | None], int] = field(  # step, attempt, up to which try to undo it
        default_factory=dict
    )

    def add(self, stop: StopRequested) -> None:
        if stop.compensation:
            for step_id, number in (stop.attempts or {}).items():
                undone = step_id, stop.undoing
                self.tries[undone] = max(number, self.tries.get(undone, 0))
        elif stop.attempts is None:
            self.whole = max(self.whole, stop.generation)
        else:
            for step_id, attempt in stop.attempts.items():
                told = self.attempts.setdefault(step_id, {})
                told[stop.generation] = max(attempt, told.get(stop.generation, 0))

    def covers(self, work: StepReady | CompensationReady) -> bool:
        if isinstance(work, CompensationReady):
            of_all = self.tries.get((work.step_id, None), 0)
            return work.number <= max(of_all, self.tries.get((work.step_id, work.attempt), 0))
        return work.generation <= self.whole or any(
            work.generation <= generation and work.attempt <= attempt
            for generation, attempt in self.attempts.get(work.step_id, {}).items()
        )


class Stops:
    """Remembers stops by run; the newest `REMEMBERED` runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Told] = OrderedDict()

    def add(self, stop: StopRequested) -> None:
        """Note that a run, some attempts of it, or some tries to undo them, shall stop."""
        told = self._runs.setdefault(stop.run_id, _Told())
        told.add(stop)
        self._runs.move_to_end(stop.run_id)
        while len(self._runs) > REMEMBERED:
            self._runs.popitem(last=False)

    def knows(self, run_id: str) -> bool:
        """Say whether anything of a run has been told to stop."""
        return run_id in self._runs

    def covers(self, work: StepReady | CompensationReady) -> bool:
        """Say whether this shall not be worked on (any more)."""
        told = self._runs.get(work.run_id)
        return told is not None and told.covers(work)
