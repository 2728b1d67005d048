"""What came of verifying a stretch of the log: how much was compared, and what differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import TopicPartition

GAPS_KEPT = 100


class Difference(NamedTuple):
    """The first place where a run was not decided as it would be today."""

    run_id: str
    topic: str
    partition: int
    offset: int  # of the record that differs; of the fact that asked for one that is missing
    id: str
    what: str
    path: str = ""
    published: Any = None
    owed: Any = None


@dataclass(slots=True)
class Counts:
    """How much was looked at."""

    records: int = 0
    runs: int = 0
    same: int = 0  # of the runs
    open_runs: int = 0
    decisions: int = 0  # that were published, and compared
    steps: int = 0  # of works on the topics of agents, compared
    repeated: int = 0  # records that stand there twice
    foreign: int = 0  # that are not ours, or under ids that no coordinator gives
    unknown: int = 0  # published of runs of which the beginning is not there
    gaps: int = 0  # stretches of offsets that are not in what was read


@dataclass
class Findings:
    """What came of it: runs that differ, and runs of which nobody can tell, with the reason."""

    counts: Counts = field(default_factory=Counts)
    differences: list[Difference] = field(default_factory=list)
    unjudged: dict[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()  # runs by name
    named: set[str] = field(default_factory=set)  # of these, those that are there
    since: dict[str, int] = field(default_factory=dict)  # runs judged from a later offset on only
    gaps: list[tuple[TopicPartition, int, int]] = field(default_factory=list)  # the first ones

    @property
    def are_same(self) -> bool:
        """Tell whether everything was decided as it would be today."""
        return not self.differences

    def note_gap(self, place: TopicPartition, first: int, end: int) -> None:
        """Note that offsets from `first` up to, without it, `end` are missing."""
        self.counts.gaps += 1
        if len(self.gaps) < GAPS_KEPT:
            self.gaps.append((place, first, end))
