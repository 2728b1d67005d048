"""Where a consumer group stands in a partition, and where a move would put it. Pure.

- A move *back* makes all from the target on undone: the watermark falls to the target, and what was
  done above the target, out of order, is forgotten. It never moves a group that has not come so far
  yet: what it has not done stays to be done.
- A move *forward*, only where asked for, makes all before the target done: it will never be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import TopicPartition

from starlings.kafka.offsets import Done

Stretch = tuple[int, int]  # half open


@dataclass(frozen=True, slots=True)
class Position:
    """Where a group stands in one partition, which has the offsets from `begin` up to `end`.

    `restore_from` is said by the coordinator's group only: from where it would read.
    """

    place: TopicPartition
    begin: int
    end: int
    done: Done
    committed: bool = True
    rewound_ms: int = 0
    restore_from: int | None = None

    @property
    def pending(self) -> int:
        """How many offsets are not done."""
        above = sum(end - first for first, end in self.done.ranges)
        return max(self.end - max(self.done.low, self.begin) - above, 0)


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of a partition.

    `again` is what was done and is to be done once more, `skipped` what was not done and never will
    be. `cut`: the target lay before the earliest record that retention has left.
    """

    before: Position
    after: Done
    again: tuple[Stretch, ...] = ()
    skipped: tuple[Stretch, ...] = ()
    cut: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be committed."""
        return self.after != self.before.done

    @property
    def place(self) -> TopicPartition:
        """Name the partition."""
        return self.before.place


def moved(position: Position, target: int, *, forward: bool = False) -> Move:
    """Say what a move to an offset does to a partition."""
    at = min(max(target, position.begin), position.end)
    before = position.done
    if forward or at < before.low:
        after = Done(at)
    else:  # it has not come so far: only what was done out of order goes
        kept = ((first, min(end, at)) for first, end in before.ranges if first < at)
        after = Done(before.low, tuple(kept))
    was, will = _stretches(before, position), _stretches(after, position)
    return Move(
        before=position,
        after=after,
        again=tuple(_without(was, will)),
        skipped=tuple(_without(will, was)),
        cut=target < position.begin,
    )


def _stretches(done: Done, position: Position) -> list[Stretch]:
    ranges = ((position.begin, done.low), *done.ranges)
    cut = ((max(first, position.begin), min(end, position.end)) for first, end in ranges)
    return [(first, end) for first, end in cut if first < end]


def _without(these: Iterable[Stretch], those: list[Stretch]) -> list[Stretch]:
    left = []
    for first, end in these:
        at = first
        for other_first, other_end in those:
            if other_end <= at or other_first >= end:
                continue
            if other_first > at:
                left.append((at, other_first))
            at = max(at, other_end)
        if at < end:
            left.append((at, end))
    return left
