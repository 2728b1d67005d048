"""Records as entries of a log: read where that is possible, and why not where it is not.

Whoever looks at a log must not die of somebody else's message: what is foreign, damaged or of a
later version is shown as what it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from starlings.kafka.codec import Codec, Received
from starlings.kafka.domain_events import DomainEventCodec
from starlings.messages import (
    Message,
    Origin,
    PlanCreated,
    PlanRejected,
    RunForked,
    RunRequested,
    StarlingsError,
    Topics,
    header,
)

from .selection import Selection, Verdict, named_run, named_type, run_of, type_of
from .source import Source

BEGINNINGS = frozenset({PlanCreated.NAME, PlanRejected.NAME, RunForked.NAME})


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, and what it says; `problem` tells why it says nothing that we understand."""

    record: ConsumerRecord
    received: Received | None = None
    problem: str = ""

    @property
    def id(self) -> str:
        """Name it as it names itself, else by its place."""
        record = self.record
        own = header(record.headers, "ce_id")
        return own or str(Origin(record.topic, record.partition, record.offset))

    @property
    def cause(self) -> str | None:
        """Name the message that caused it; None where it does not say."""
        return header(self.record.headers, "ce_causationid")

    @property
    def type(self) -> str | None:
        """Name its type; None where nobody knows it."""
        named = named_type(self.record)
        return named or (type_of(self.received.message) if self.received else None)

    @property
    def run_id(self) -> str | None:
        """Name the run that it is about."""
        return run_of(self.received) if self.received else named_run(self.record)


class EntryReader:
    """Reads records of any topic of one installation."""

    def __init__(self, codec: Codec, topics: Topics) -> None:
        self._codec = codec
        self._events = DomainEventCodec(codec, topics)
        self._topics = topics

    async def read(self, record: ConsumerRecord) -> Entry:
        """Read a record."""
        if record.value is None:
            return Entry(record, problem="no value: its key was taken back")
        try:
            received = await self._decode(record)
        except StarlingsError as error:
            return Entry(record, problem=str(error))
        if received is None:
            said = header(record.headers, "ce_type")
            return Entry(record, problem=f"foreign, or of a later version: {said}")
        return Entry(record, received)

    async def _decode(self, record: ConsumerRecord) -> Received | None:
        if self._topics.event_type_of(record.topic) is not None:
            return await self._events.decode(record)
        default: type[Message] | None = None
        if record.topic == self._topics.requests:
            default = RunRequested
        return await self._codec.decode(record, default=default)


class Selected:
    """The records of a source that fit a selection; counts what was looked at."""

    def __init__(self, source: Source, selection: Selection, reader: EntryReader) -> None:
        self.seen = 0
        self.unreadable = 0  # that would have had to be read to tell whether they fit
        self.begun: set[str] = set()  # of the runs that are wanted, those whose beginning was met
        self._source = source
        self._selection = selection
        self._reader = reader

    async def records(self) -> AsyncGenerator[ConsumerRecord]:
        """Deliver them raw; most that do not fit are never decoded."""
        async with aclosing(self._source.records()) as records:
            async for record in records:
                self.seen += 1
                if self._selection.runs and named_type(record) in BEGINNINGS:
                    self.begun.add(named_run(record) or "")
                verdict = self._selection.judge(record)
                if verdict is Verdict.YES or (verdict is Verdict.LOOK and await self._fits(record)):
                    yield record

    async def entries(self) -> AsyncGenerator[Entry]:
        """Deliver them read."""
        async with aclosing(self.records()) as records:
            async for record in records:
                yield await self._reader.read(record)

    async def _fits(self, record: ConsumerRecord) -> bool:
        entry = await self._reader.read(record)
        if entry.received is None:
            self.unreadable += 1
            return False
        return self._selection.fits(entry.received)
