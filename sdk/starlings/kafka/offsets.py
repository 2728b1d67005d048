"""Which offsets of one partition are done, and how a committed offset remembers it.

Work finishes out of order, and Kafka remembers one number per partition and group. So the number
is the *low watermark* (all before it is done), and what is done above it travels in the metadata
of the commit, as run lengths. Pure book-keeping: no clock, no client, no logging.

Rules:

- Offsets are delivered in rising order, as a fetcher delivers them. Those that never appear
  (compaction, transaction markers, retention) belong to the next one that does, so a hole in the
  log holds back nothing and costs no run of its own.
- The metadata names the low watermark it belongs to. A commit made by another tool, or moved to
  another offset (as mirroring tools do), is recognised and not believed.
- A group that was moved by hand (`starlings group rewind`) carries the mark of that from then on:
  what a member remembers from before it is void.
- A repeated `finish` changes nothing. One may come before the delivery: work goes on over a
  rebalance, after which everything unfinished is fetched again.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[int, int]  # half open: from the first offset up to, not including, the second

VERSION = "s1"
BROKER_LIMIT = 4_096  # offset.metadata.max.bytes of a broker that nobody configured
_BITS = 7
_MORE = 1 << _BITS
_LONGEST_VARINT = 9


class ForeignMetadata(ValueError):  # noqa: N818 - says what it is, and is caught where it is met
    """Commit metadata that this module did not write for this offset."""


@dataclass(frozen=True, slots=True)
class Done:
    """All before `low` is done, and so are these ranges above it (sorted, disjoint)."""

    low: int
    ranges: tuple[Range, ...] = ()


def merge(first: Done, second: Done) -> Done:
    """Unite what two sources know to be done in the same partition."""
    low = max(first.low, second.low)
    ranges: list[Range] = []
    for start, end in sorted((*first.ranges, *second.ranges)):
        if start <= low:
            low = max(low, end)
        elif ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
        else:
            ranges.append((start, end))
    return Done(low, tuple(ranges))


def encode(
    done: Done, *, limit: int = BROKER_LIMIT, at_ms: int | None = None, rewound_ms: int = 0
) -> str:
    """Write commit metadata of at most `limit` characters, with the time it tells of, if any.

    `rewound_ms` is the mark of the last rewind. What does not fit is left out from the far end:
    those offsets would run again after a crash, which is the safe side.
    """
    stamp = "" if at_ms is None else f"@{at_ms}"
    head = f"{VERSION}:{done.low}{stamp}{f'~{rewound_ms}' if rewound_ms else ''}:"
    room = (limit - len(head)) // 4 * 3
    data = bytearray()
    at = done.low
    for start, end in done.ranges:
        piece = _varint(start - at) + _varint(end - start)
        if len(data) + len(piece) > room:
            break
        data += piece
        at = end
    return head + base64.b64encode(bytes(data)).decode()


def decode(offset: int, metadata: str) -> Done:
    """Read commit metadata; raise `ForeignMetadata` when it is not ours or not for this offset."""
    if not metadata:
        return Done(offset)
    version, _, rest = metadata.partition(":")
    head, _, body = rest.partition(":")
    low = head.partition("~")[0].partition("@")[0]
    if version != VERSION or low != str(offset):
        raise ForeignMetadata(f"written by something else, or for another offset: {metadata[:80]}")
    try:
        numbers = _numbers(base64.b64decode(body, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ForeignMetadata(f"corrupt ({error}): {metadata[:80]}") from error
    return Done(offset, _ranges(offset, numbers))


def told_at_ms(metadata: str) -> int:
    """Read the time that commit metadata tell of, in Unix ms; 0 where they say none."""
    at = _head(metadata).partition("~")[0].partition("@")[2]
    return int(at) if at.isdecimal() else 0


def rewound_at_ms(metadata: str) -> int:
    """Read the mark of the last rewind, a time of the brokers in Unix ms; 0: there was none."""
    mark = _head(metadata).partition("~")[2]
    return int(mark) if mark.isdecimal() else 0


def _head(metadata: str) -> str:
    version, _, rest = metadata.partition(":")
    return rest.partition(":")[0] if version == VERSION else ""


def _ranges(low: int, numbers: Sequence[int]) -> tuple[Range, ...]:
    if len(numbers) % 2 or 0 in numbers:
        raise ForeignMetadata("corrupt: its runs do not alternate")
    ranges = []
    at = low
    for pending, done in zip(numbers[::2], numbers[1::2], strict=True):
        ranges.append((at + pending, at + pending + done))
        at += pending + done
    return tuple(ranges)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= _MORE:
        out.append(number % _MORE + _MORE)
        number //= _MORE
    out.append(number)
    return bytes(out)


def _numbers(data: bytes) -> list[int]:
    numbers = []
    value = length = 0
    for byte in data:
        value += (byte % _MORE) << (_BITS * length)
        length += 1
        if byte < _MORE:
            numbers.append(value)
            value = length = 0
        elif length >= _LONGEST_VARINT:
            raise ValueError("a number without end")
    if length:
        raise ValueError("it ends within a number")
    return numbers


class Offsets:
    """The book-keeping of one partition: O(1) in order, O(log runs) out of order.

    `low` is what to commit, `position` the next offset expected, `version` rises with each change
    worth committing. `runs` never exceeds the number of offsets that are pending with a later one
    done, which is bounded by the number of handlers at work.
    """

    __slots__ = ("_ends", "_holes", "_known", "_pending", "_starts", "low", "position", "version")

    def __init__(self, done: Done) -> None:
        self.low = done.low
        self.position = done.low
        self.version = 0
        self._starts = [start for start, _ in done.ranges]
        self._ends = [end for _, end in done.ranges]
        self._known = self.top  # below it, an offset may be done before it is delivered
        self._pending: set[int] = set()
        self._holes: dict[int, int] = {}  # a pending offset → start of the hole before it

    @property
    def done(self) -> Done:
        """All that is done, as a value."""
        return Done(self.low, tuple(zip(self._starts, self._ends, strict=True)))

    @property
    def top(self) -> int:
        """End of the last done range: finishing what lies below makes the metadata no longer."""
        return self._ends[-1] if self._ends else self.low

    @property
    def runs(self) -> int:
        """How many separate ranges lie above the low watermark."""
        return len(self._starts)

    @property
    def pending(self) -> int:
        """How many delivered offsets are not done."""
        return len(self._pending)

    def is_pending(self, offset: int) -> bool:
        """Say whether a delivered offset is not done yet."""
        return offset in self._pending

    def deliver(self, offset: int) -> bool:
        """Take note of a fetched offset; False when there is nothing left to do for it."""
        if offset < self.position:
            return False
        before, self.position = self.position, offset + 1
        known = offset < self._known and self._is_done(offset)
        if offset > before:
            self._pass_hole(before, offset, closed=known)
        if not known:
            self._pending.add(offset)
        return not known

    def finish(self, offset: int) -> None:
        """Mark an offset done; one that was not delivered (again) yet will then need nothing."""
        if offset >= self.position:
            self._known = max(self._known, offset + 1)
        elif offset in self._pending:
            self._pending.remove(offset)
        else:
            return
        self.version += 1
        start = self._holes.pop(offset, offset) if self._holes else offset
        if start <= self.low:
            self._advance(offset + 1)
        else:
            self._insert(start, offset + 1)

    def skip_to(self, position: int) -> None:
        """Hear that the fetcher has passed offsets which hold no record (markers, compaction)."""
        if position > self.position and not self._pending:
            self.position = position
            self._advance(position)

    def encoded(
        self, *, limit: int = BROKER_LIMIT, at_ms: int | None = None, rewound_ms: int = 0
    ) -> str:
        """Write the commit metadata that goes with `low`."""
        return encode(self.done, limit=limit, at_ms=at_ms, rewound_ms=rewound_ms)

    def _pass_hole(self, start: int, end: int, *, closed: bool) -> None:
        if not self._pending:
            self._advance(end)
        elif closed:
            self._insert(start, end)
        else:
            self._holes[end] = start

    def _is_done(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return offset < self.low or (at >= 0 and offset < self._ends[at])

    def _advance(self, low: int) -> None:
        if low <= self.low:
            return
        self.version += 1
        passed = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            if start > low:
                break
            low = max(low, end)
            passed += 1
        if passed:
            del self._starts[:passed], self._ends[:passed]
        self.low = low

    def _insert(self, start: int, end: int) -> None:
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
