"""What is known of one partition of checkpoints: a fold of its log, without I/O.

Records are taken by their offsets: what lies earlier than what is known of a key says nothing new,
however late it is read. A tombstone of a piece of work is remembered as its *end* until `settle`,
since whoever takes a partition over has to tell work that has ended from work that nobody began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

from starlings.messages import AttemptCheckpoint, CallCheckpoint, call_key, split_key

ENDS_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Newer:
    """A checkpoint that a later version wrote; this one cannot say what it means."""

    ce_type: str


Value = AttemptCheckpoint | CallCheckpoint | Newer


@dataclass(frozen=True, slots=True)
class Entry:
    """A value, and where it lies."""

    offset: int
    value: Value


class View:
    """One partition of checkpoints, as far as it has been read and written."""

    def __init__(self) -> None:
        self.next = 0  # where reading goes on
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, set[str]] = {}  # of each piece of work
        self._gone: dict[str, int] = {}  # key → offset of its tombstone
        self._attempts: dict[str, AttemptCheckpoint] = {}
        self.attempts: Mapping[str, AttemptCheckpoint] = MappingProxyType(self._attempts)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def silent(self) -> bool:
        """Whether there is nothing to know of any work."""
        return not self._entries and not self._gone

    def is_news(self, key: str, offset: int) -> bool:
        """Say whether a record at this offset is later than what is known of its key."""
        entry = self._entries.get(key)
        known = entry.offset if entry is not None else self._gone.get(key, -1)
        return offset > known

    def put(self, key: str, value: Value, offset: int) -> None:
        """Take a record."""
        if not self.is_news(key, offset):
            return
        work, call = split_key(key)
        self._gone.pop(key, None)
        self._entries[key] = Entry(offset, value)
        self._keys.setdefault(work, set()).add(key)
        if call is None:
            self._attempts.pop(work, None)
            if isinstance(value, AttemptCheckpoint):
                self._attempts[work] = value

    def drop(self, key: str, offset: int) -> None:
        """Take a tombstone."""
        if not self.is_news(key, offset):
            return
        self.forget(key)
        self._gone[key] = offset
        if len(self._gone) > ENDS_REMEMBERED:  # a step that waits for long keeps us from settling
            for old in list(islice(self._gone, ENDS_REMEMBERED // 2)):
                del self._gone[old]

    def forget(self, key: str) -> None:
        """Behave as if nothing lay under a key."""
        work, call = split_key(key)
        self._entries.pop(key, None)
        if call is None:
            self._attempts.pop(work, None)
        keys = self._keys.get(work, set())
        keys.discard(key)
        if not keys:
            self._keys.pop(work, None)

    def settle(self) -> None:
        """Forget what has ended: all that lay before us has been dealt with."""
        self._gone.clear()

    def attempt(self, work: str) -> AttemptCheckpoint | None:
        """Find what is remembered of a piece of work."""
        return self._attempts.get(work)

    def offset(self, work: str) -> int:
        """Say where what is remembered of a piece of work lies; -1: nowhere."""
        entry = self._entries.get(work)
        return entry.offset if entry is not None else -1

    def call(self, work: str, call: str) -> CallCheckpoint | None:
        """Find the answer of a call."""
        entry = self._entries.get(call_key(work, call))
        value = entry.value if entry is not None else None
        return value if isinstance(value, CallCheckpoint) else None

    def keys(self, work: str) -> tuple[str, ...]:
        """List the keys under which something lies of a piece of work."""
        return tuple(sorted(self._keys.get(work, ())))

    def ended(self, work: str) -> bool:
        """Say whether the end of a piece of work was seen, and nothing of it since."""
        end = self._gone.get(work)
        keys = self._keys.get(work, ())
        return end is not None and all(self._entries[key].offset < end for key in keys)

    def newer(self, work: str) -> str | None:
        """Name the type of a checkpoint of this work that only a later version can read."""
        for key in self._keys.get(work, ()):
            value = self._entries[key].value
            if isinstance(value, Newer):
                return value.ce_type
        return None

    def works(self) -> Iterator[tuple[str, int | None]]:
        """List all pieces of work of which something lies here, with their records' offsets."""
        for work, keys in self._keys.items():
            values = (self._entries[key].value for key in keys)
            offsets = (v.offset for v in values if not isinstance(v, Newer))
            yield work, next((offset for offset in offsets if offset is not None), None)
