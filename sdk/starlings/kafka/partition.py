"""One assigned partition of a parallel consumer: what is queued, at work, done and remembered.

Pure book-keeping under the event loop's single thread: nothing here awaits, so nothing here can be
interrupted half-way by a rebalance. Life of a partition:

    reopen(done) → take_in(records) → next_record() … finish(offset) → to_commit()
         ↑                                                                  │
         └── suspend() at every revoke: the queue is handed back, what runs goes on ──┘
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition

from starlings.messages import REDRIVE_HEADER, origin_key

from .offsets import BROKER_LIMIT, Done, Offsets, merge
from .recent_ids import RecentIds, Window

Record: TypeAlias = ConsumerRecord

_ID = "ce_id"
_LONGEST_RUN = 16  # characters of metadata that one done range can take: two varints of six bytes
_REVIEW_EVERY = 16  # finished records between two measurements of a crowded done-set


@dataclass(frozen=True, slots=True)
class Limits:
    """When a partition takes no more in, and the clock that commits are stamped by."""

    queue: int = 1_000
    metadata: int = 3_000  # the broker's own limit is 4,096
    metadata_most: int = 4_000
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


class Intake(NamedTuple):
    """What became of fetched records."""

    queued: int
    repeats: int
    rewound: bool
    hole: int


class Inheritance(NamedTuple):
    """What somebody else may have been at work on before a partition became ours.

    All records before `end` that the last commit, made at `since_ms` (Unix time, 0: unknown), does
    not call done. `serial` rises with each assignment. What was done before `rewound_ms`, by the
    brokers' clock, does not count: the group was rewound since then.
    """

    end: int
    since_ms: int
    serial: int
    rewound_ms: int = 0


class Commit(NamedTuple):
    """What to commit for a partition, and the state of the book-keeping that it stands for."""

    offset: int
    metadata: str
    version: int
    book: Offsets


def id_of(record: Record) -> bytes:
    """Read a record's id without decoding the record.

    One that was sent back from the dead letters has another than the one that was buried, and the
    same however often it is sent back for the same reason.
    """
    for name, value in record.headers:
        if name == REDRIVE_HEADER:
            return b"redriven " + bytes(value or b"")
        if name == _ID:
            return bytes(value or b"") or _place_of(record)
    return _place_of(record)


def _place_of(record: Record) -> bytes:
    return origin_key(record.topic, record.partition, record.offset)


def size_of(record: Record) -> int:
    """Bytes of a record's value."""
    return len(record.value or b"")


class Partition:
    """Book-keeping of one partition, kept over rebalances for as long as it stays ours."""

    __slots__ = (
        "_committed",
        "_finished",
        "_limits",
        "crowded",
        "doubtful",
        "ids",
        "inheritance",
        "offsets",
        "open",
        "parked",
        "queue",
        "queued_bytes",
        "rewound_ms",
        "running",
        "tp",
    )

    def __init__(self, tp: TopicPartition, *, window: Window, limits: Limits) -> None:
        self.tp = tp
        self.ids = RecentIds(window)
        self.offsets = Offsets(Done(0))
        self.queue: deque[Record] = deque()
        self.queued_bytes = 0
        self.running: set[int] = set()
        self.parked: dict[int, Record] = {}  # somebody else is at work on these
        self.open = False
        self.crowded = False
        self.doubtful = True  # others may have owned it until now
        self.inheritance: Inheritance | None = None
        self.rewound_ms = 0  # mark of the last rewind of the group
        self._limits = limits
        self._finished = 0
        self._committed = 0

    @property
    def wanted(self) -> bool:
        """Whether the next poll should ask for this partition."""
        return (
            self.open
            and len(self.queue) < self._limits.queue
            and (not self.crowded or self.offsets.position < self.offsets.top)
        )

    def suspend(self) -> None:
        """Give up ownership until `reopen`; what runs goes on and may still be marked done."""
        self.open = False
        self.drop_queue()

    def drop_queue(self) -> None:
        """Hand back what has not been started: it was never done, so nobody needs to be told."""
        self.queue.clear()
        self.queued_bytes = 0
        self.parked.clear()

    def reopen(self, done: Done, ids: RecentIds) -> None:
        """Begin (again) at what the group knows to be done, united with what is known here."""
        self.offsets = Offsets(merge(self.offsets.done, done))
        self._committed = 0
        # Our own knowledge may be ahead of the commit, which failed during the rebalance.
        self.offsets.version = int(self.offsets.done != done)
        self.ids = ids
        self.open = True
        self._review()

    def heed(self, rewound_ms: int) -> None:
        """Hear which rewind of the group was the last; what is remembered from before it is void.

        A rewind wants a group without members. One that was cut off and comes back must not undo
        it by what it knows to be done.
        """
        if rewound_ms > self.rewound_ms:
            self.rewound_ms = rewound_ms
            self.offsets = Offsets(Done(0))
            self.ids = RecentIds(self.ids.window)
            self.doubtful = True

    def inherit(self, inheritance: Inheritance) -> None:
        """Hear what others may have left, where it is not ours alone since we last opened it."""
        if self.doubtful:
            self.inheritance = inheritance
            self.doubtful = False

    def take_in(self, records: Iterable[Record]) -> Intake:
        """Sort fetched records: done before, repeated, at work already, or new."""
        offsets, queue, running = self.offsets, self.queue, self.running
        before, repeats, rewound, hole = len(queue), 0, False, 0
        for record in records:
            offset = record.offset
            if offset < offsets.position:
                offsets, rewound = self._rewind(offset), True
            hole = max(hole, offset - offsets.position)
            repeated = self.ids.repeated(id_of(record), offset, record.timestamp)
            if not offsets.deliver(offset):
                continue
            if repeated:
                offsets.finish(offset)
                repeats += 1
            elif offset not in running:
                queue.append(record)
                self.queued_bytes += size_of(record)
        return Intake(len(queue) - before, repeats, rewound, hole)

    def next_record(self) -> Record | None:
        """Take the next record to start; None while there is none or the done-set is full.

        A full done-set stops only what would make it longer: records below its last range close
        holes, and must run, or it would never get shorter.
        """
        queue = self.queue
        if not queue or (self.crowded and queue[0].offset >= self.offsets.top):
            return None
        record = queue.popleft()
        self.queued_bytes -= size_of(record)
        self.running.add(record.offset)
        return record

    def finish(self, offset: int) -> None:
        """Mark a record done, whether or not the partition is open at the moment."""
        if offset not in self.running:
            return
        self.running.remove(offset)
        self.offsets.finish(offset)
        self._finished += 1
        if self._finished % _REVIEW_EVERY == 0:
            self._review()

    def give_back(self, record: Record) -> None:
        """Put a record that was stopped, and not done, back in front.

        While the partition is not open, or has not fetched so far (again), the record will come by
        itself.
        """
        self.running.discard(record.offset)
        if self.open and self.offsets.is_pending(record.offset):
            self.queue.appendleft(record)
            self.queued_bytes += size_of(record)

    def park(self, record: Record) -> None:
        """Put a record aside that was to be started, since somebody else is at work on it."""
        self.running.discard(record.offset)
        self.parked[record.offset] = record

    def unpark(self, offset: int) -> Record | None:
        """Take a parked record, to be started or finished; None where it is not parked."""
        record = self.parked.pop(offset, None)
        if record is not None:
            self.running.add(offset)
        return record

    def to_commit(self) -> Commit | None:
        """Say what to commit; None while nothing has changed since the last success."""
        offsets = self.offsets
        if not self.open or offsets.version == self._committed:
            return None
        self._review()
        metadata = offsets.encoded(
            limit=self._limits.metadata_most,
            at_ms=self._limits.now_ms(),
            rewound_ms=self.rewound_ms,
        )
        return Commit(offsets.low, metadata, offsets.version, offsets)

    def committed(self, commit: Commit) -> None:
        """Hear that a commit succeeded; one for an earlier assignment says nothing about this."""
        if commit.book is self.offsets:
            self._committed = commit.version

    def _rewind(self, offset: int) -> Offsets:
        """Follow a log that lost its end (an unclean election): its offsets are given out anew."""
        self.drop_queue()
        self.offsets = Offsets(Done(offset))
        self.offsets.version = 1
        self._committed = 0
        self.running.clear()
        return self.offsets

    def _review(self) -> None:
        if self.offsets.runs * _LONGEST_RUN < self._limits.metadata // 2:
            self.crowded = False
            return
        length = len(self.offsets.encoded(limit=BROKER_LIMIT))
        if length >= self._limits.metadata:
            self.crowded = True
        elif length <= self._limits.metadata // 2:
            self.crowded = False
