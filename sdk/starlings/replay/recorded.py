"""Runs as a source tells them: as they stood after some offset, and as they stand at its end.

What cannot be read is kept with the reason: it depends on what somebody wants whether it matters.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from starlings.client import RunView

from .entries import Entry


@dataclass(frozen=True)
class Unreadable:
    """A fact of a run that could not be read."""

    offset: int
    type: str
    id: str
    problem: str


@dataclass
class RecordedRun:
    """One run; `then` is `now` where no offset was named."""

    run_id: str
    until: int | None = None
    unreadable: list[Unreadable] = field(default_factory=list)
    now: RunView = field(init=False)
    then: RunView = field(init=False)

    def __post_init__(self) -> None:
        """Know nothing of it yet."""
        self.now = RunView(self.run_id)
        self.then = self.now if self.until is None else RunView(self.run_id)

    @property
    def last_offset(self) -> int:
        """Say up to which fact it is told how it stood then."""
        last = self.now.last.origin.offset if self.now.last else 0
        return last if self.until is None else min(self.until, last)

    def add(self, entry: Entry) -> None:
        """Take a record in."""
        if entry.received is None:
            place = entry.record.offset
            self.unreadable.append(Unreadable(place, entry.type or "", entry.id, entry.problem))
            return
        self.now.add(entry.received)
        if self.until is not None and entry.record.offset <= self.until:
            self.then.add(entry.received)


async def read_runs(
    entries: AsyncGenerator[Entry], run_ids: Iterable[str], *, topic: str, until: int | None = None
) -> dict[str, RecordedRun]:
    """Read the facts of runs, in the order of the log; `topic` is the one with the facts."""
    runs = {run_id: RecordedRun(run_id, until) for run_id in run_ids}
    async with aclosing(entries) as told:
        async for entry in told:
            if entry.run_id in runs and entry.record.topic == topic:
                runs[entry.run_id].add(entry)
    return runs
