"""What has become of each dead letter: a fold of the topic `dead-letters`, in any order.

A letter is a message with a history: buried, sent back, perhaps buried again, given up. It is known
by the place where the message lay first; one that was written to `dead-letters` and lay nowhere
else, by its place there. Each time it is sent back has a number, which the message carries along;
so burials and marks find together however they are interleaved, and a repeat of either changes
nothing. Values are not kept: they can be large, and lie on the topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from aiokafka import ConsumerRecord
from pydantic import ValidationError

from starlings.messages import (
    GROUP_HEADER,
    REDRIVE_HEADER,
    DeadLetterDiscarded,
    DeadLetterRedriven,
    Headers,
    Origin,
    StepReady,
    Topics,
    header,
    read_origin,
    read_redrive_mark,
)

from .dead_letters import CODE, KEY, MESSAGE, ORIGIN, lay_nowhere, original_headers

_MARKS = (DeadLetterRedriven, DeadLetterDiscarded)


class LetterState(StrEnum):
    """How a dead letter stands."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


class Burial(NamedTuple):
    """One time that the message was put aside."""

    at_ms: int
    place: Origin  # on `dead-letters`
    origin: Origin  # where it lay that time
    code: str
    message: str
    key: bytes
    headers: Headers
    group: str
    size_bytes: int


class Mark(NamedTuple):
    """One time that somebody decided about it."""

    at_ms: int
    by: str
    to: str = ""
    reason: str = ""


class Event(NamedTuple):
    """One line of a letter's history."""

    at_ms: int
    what: str
    said: str
    by: str = ""


@dataclass(slots=True)
class Letter:
    """A message that could not be handled, with all that has happened to it since."""

    origin: Origin
    burials: dict[int, Burial] = field(default_factory=dict)  # by how often it had been sent back
    redriven: dict[int, Mark] = field(default_factory=dict)
    discarded: dict[int, Mark] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name it by the place where the message lay first."""
        return str(self.origin)

    @property
    def redrives(self) -> int:
        """How often it has been sent back."""
        return max([0, *self.burials, *self.redriven])

    @property
    def state(self) -> LetterState:
        """Say how it stands."""
        if self.redrives not in self.burials:
            return LetterState.REDRIVEN
        return LetterState.DISCARDED if self.redrives in self.discarded else LetterState.OPEN

    @property
    def last(self) -> Burial:
        """The latest time that it was put aside."""
        return self.burials[max(self.burials)]

    @property
    def type(self) -> str:
        """The CloudEvents type that the message says it has; empty where it says none."""
        return header(original_headers(self.last.headers), "ce_type") or ""

    def run_id(self, topics: Topics) -> str:
        """Say which run it is about, as far as its headers and key tell."""
        said = header(original_headers(self.last.headers), "ce_subject")
        key = self.last.key.decode(errors="replace")
        steps = topics.agent_of(self.origin.topic) is not None or self.type == StepReady.CE_TYPE
        return said or (key.partition("/")[0] if steps else key)

    def history(self) -> list[Event]:
        """Tell all that has happened to it, the oldest first."""
        events = [Event(b.at_ms, "buried", f"{b.code}: {b.message}") for b in self.burials.values()]
        events += [Event(m.at_ms, "redriven", m.to, m.by) for m in self.redriven.values()]
        events += [Event(m.at_ms, "discarded", m.reason, m.by) for m in self.discarded.values()]
        return sorted(events, key=lambda event: event.at_ms)


class Letters:
    """All dead letters, as far as their topic has been looked at."""

    def __init__(self) -> None:
        self._letters: dict[Origin, Letter] = {}
        self._written: dict[str, Origin] = {}  # by the id of a message that lay nowhere before

    def __iter__(self) -> Iterator[Letter]:
        """Give the letters in the order in which they were first met."""
        return iter([letter for letter in self._letters.values() if letter.burials])

    def find(self, origin: Origin) -> Letter | None:
        """Find the letter of a message that lay there first."""
        letter = self._letters.get(origin)
        return letter if letter is not None and letter.burials else None

    @property
    def open(self) -> int:
        """How many wait for somebody to decide."""
        return sum(letter.state is LetterState.OPEN for letter in self)

    def add(self, record: ConsumerRecord) -> None:
        """Take in a record of `dead-letters`; what is neither letter nor mark is passed over."""
        said = header(record.headers, ORIGIN) or ""
        origin = self._own_place(record) if lay_nowhere(said) else read_origin(said)
        if origin is not None:
            self._bury(origin, record)
            return
        kind = header(record.headers, "ce_type")
        model = next((m for m in _MARKS if kind == m.CE_TYPE), None)
        if model is not None and record.value is not None:
            try:
                self._mark(model.model_validate_json(record.value), record.timestamp)
            except ValidationError:
                return  # somebody else wrote it: it decides nothing

    def _own_place(self, record: ConsumerRecord) -> Origin:
        """Give the place on `dead-letters`; a message that was written twice keeps its first."""
        place = Origin(record.topic, record.partition, record.offset)
        ident = header(record.headers, "ce_id")
        return self._written.setdefault(ident, place) if ident else place

    def _bury(self, origin: Origin, record: ConsumerRecord) -> None:
        mark = read_redrive_mark(dict(record.headers).get(REDRIVE_HEADER))
        first, count = mark or (origin, 0)
        if mark is not None and not _lies_before(first, origin):
            first, count = origin, 0  # the header is not ours: nothing is sent back elsewhere
        headers = record.headers
        burial = Burial(
            at_ms=record.timestamp,
            place=Origin(record.topic, record.partition, record.offset),
            origin=origin,
            code=header(headers, CODE) or "",
            message=header(headers, MESSAGE) or "",
            key=bytes(dict(headers).get(KEY) or b""),
            headers=list(headers),
            group=header(headers, GROUP_HEADER) or "",
            size_bytes=len(record.value or b""),
        )
        self._letter(first).burials.setdefault(count, burial)

    def _mark(self, said: DeadLetterRedriven | DeadLetterDiscarded, at_ms: int) -> None:
        origin = read_origin(said.origin)
        if origin is None:
            return
        letter = self._letter(origin)
        if isinstance(said, DeadLetterRedriven):
            letter.redriven.setdefault(said.count, Mark(at_ms, said.by, to=said.to))
        else:
            letter.discarded.setdefault(said.count, Mark(at_ms, said.by, reason=said.reason))

    def _letter(self, origin: Origin) -> Letter:
        return self._letters.setdefault(origin, Letter(origin))


def _lies_before(first: Origin, then: Origin) -> bool:
    return (first.topic, first.partition) == (then.topic, then.partition) and (
        first.offset < then.offset
    )
