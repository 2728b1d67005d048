"""One attempt of a step as the log remembers it: what it was given, and what came of it.

What it was given is its `step_ready`, as it lies on `steps.<agent>`. Where retention has deleted
that, or nobody can read it any more, the core builds it anew: the run's facts are folded up to the
attempt's release, as its coordinator did.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from starlings.choreography import CarryPolicy, Ledger, Position, Run
from starlings.choreography.outputs import step_ready
from starlings.choreography.transitions import OUT, RunPhase
from starlings.client import Client
from starlings.client.handle import RunNotFound, StepNotFound
from starlings.kafka.codec import Codec
from starlings.messages import (
    ConfigError,
    InvariantBroken,
    Message,
    Origin,
    RunDone,
    StarlingsError,
    StepDone,
    StepReady,
    StepScheduled,
    StepStarted,
    Topics,
    UndecodableMessage,
    attempt_id,
    header,
    run_key,
    step_key,
)

from .archive import Archive
from .entries import BEGINNINGS
from .ranges import ranges_of
from .reading import LogReader

AROUND_MS = 60_000  # between a step's release and the word that it was released, at the most
_MADE = (StepScheduled, StepStarted, StepDone)
_BEGINNINGS = frozenset({*BEGINNINGS, StepReady.NAME})


class AttemptNotFound(StarlingsError):  # noqa: N818 - says what is the case
    """The step has made no such attempt, or the log does not have it any more."""

    code = "attempt_not_found"


class RunLog(Protocol):
    """Where records of one run come from."""

    topics: Topics
    codec: Codec
    begin: int  # the earliest offset of the run's facts' partition that was read

    def facts(self, run_id: str) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the run's facts, in their order."""

    def work(self, topic: str, key: bytes, at_ms: int | None) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the work of one step; `at_ms` is about when it was released."""


class LiveLog:
    """The log on Kafka."""

    def __init__(self, client: Client) -> None:
        self.topics = client.topics
        self.codec = client.codec
        self.begin = 0
        self.client = client

    async def facts(self, run_id: str) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the run's facts, in their order."""
        events, number = self.topics.events, self.client.partition_of(run_id)
        connection, key = self.client.connection, run_key(run_id)
        ranges = await ranges_of(connection, [events], partitions={events: [number]})
        self.begin = ranges[0].begin
        async for record in LogReader(connection, ranges).records():
            if record.key == key:
                yield record

    async def work(
        self, topic: str, key: bytes, at_ms: int | None
    ) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the work of one step."""
        connection = self.client.connection
        try:
            numbers = list(await connection.partitions(topic))
        except ConfigError:  # the topic is gone, or never was here
            return
        number = int(DefaultPartitioner()(key, numbers, numbers))
        ranges = await ranges_of(
            connection,
            [topic],
            partitions={topic: [number]},
            since_ms=None if at_ms is None else at_ms - AROUND_MS,
            until_ms=None if at_ms is None else at_ms + AROUND_MS,
        )
        async for record in LogReader(connection, ranges).records():
            if record.key == key:
                yield record


class FiledLog:
    """The log in a file."""

    def __init__(self, archive: Archive, codec: Codec) -> None:
        self.topics = Topics(archive.header.prefix)
        self.codec = codec
        self.archive = archive
        events = self.topics.events
        self._begins = {r.place: r.begin for r in archive.header.ranges if r.topic == events}
        self.begin = 0

    async def facts(self, run_id: str) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the run's facts, in their order."""
        async for record in self._records(self.topics.events, run_key(run_id)):
            place = TopicPartition(record.topic, record.partition)
            self.begin = self._begins.get(place, record.offset)
            yield record

    def work(self, topic: str, key: bytes, at_ms: int | None) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the work of one step."""
        del at_ms
        return self._records(topic, key)

    async def _records(self, topic: str, key: bytes) -> AsyncGenerator[ConsumerRecord]:
        for record in self.archive:
            if record.topic == topic and record.key == key:
                yield record


@dataclass(frozen=True)
class RecordedAttempt:
    """An attempt as it was made.

    Attributes:
        ready: what it was given.
        place: where that lies; None: it was built anew from the run's facts.
        done: how it ended; None: it has not, or nobody said so, or `unread` says why not.
        made: how many attempts the step has made.
        started_by: the instance that said it was at work on it.
        why_settled: why its result could not count any more; None: the run waits for it.
    """

    ready: StepReady
    place: Origin | None
    done: StepDone | None
    made: int
    started_by: str
    why_settled: str | None
    unread: str | None = None

    @property
    def name(self) -> str:
        """Name it as its messages do, `run/step/attempt`."""
        return f"{self.ready.run_id}/{self.ready.step_id}/{self.ready.attempt}"

    @property
    def why_no_end(self) -> str | None:
        """Say why its end is not known, nor the calls that come with it; None: it is."""
        if self.unread is not None:
            return f"how this attempt ended cannot be read, and its record with it: {self.unread}"
        if self.done is None:
            return (
                "the log does not have how this attempt ended, and the record of its calls comes "
                "with that: its agent is at work on it, was killed, or ran out of time"
            )
        return None


async def find_attempt(
    log: RunLog, run_id: str, step_id: str, attempt: int | None = None
) -> RecordedAttempt:
    """Find an attempt of a step; without a number the latest one.

    Raises:
        RunNotFound: the log holds no fact of the run.
        StepNotFound: its plan has no such step.
        AttemptNotFound: the step has not run, or not so often, or what it was given is gone.
        TransientError: the blob store cannot be read now.
    """
    reading = _Reading(run_id, step_id)
    async for record in log.facts(run_id):
        await reading.take(record, log)
    number = reading.number_of(attempt)
    found = await reading.work(log, number)
    ready, place = found or (reading.rebuilt.get(number), None)
    if ready is None:
        raise AttemptNotFound(reading.why_gone(number))
    return RecordedAttempt(
        ready=ready,
        place=place,
        done=reading.ends.get(number),
        made=reading.made,
        started_by=reading.started.get(number, ""),
        why_settled=reading.why_settled(number),
        unread=reading.why_unread(number),
    )


@dataclass
class _Reading:
    """What the facts of a run tell of one of its steps."""

    run_id: str
    step_id: str
    run: Run | None = None
    facts: int = 0
    ended: bool = False
    rebuilt: dict[int, StepReady] = field(default_factory=dict)
    said: dict[int, tuple[int, Message]] = field(default_factory=dict)
    ends: dict[int, StepDone] = field(default_factory=dict)
    started: dict[int, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)  # why, by message id
    _ledger: Ledger | None = None

    async def take(self, record: ConsumerRecord, log: RunLog) -> None:
        """Take a record of the run in."""
        self.facts += 1
        try:
            received = await log.codec.decode(record)
        except UndecodableMessage as error:
            self.unread[header(record.headers, "ce_id") or ""] = str(error)
            return
        if received is None:
            return
        if self._ledger is None:
            self._ledger = Ledger(start=log.begin, policy=CarryPolicy())
        self._note(received.message, received.timestamp_ms)
        place = Position(received.origin.offset, received.timestamp_ms)
        self._ledger.fold(place, received.message)
        self.run = self._ledger.runs.get(self.run_id) or self.run
        self.ended = self.run_id not in self._ledger.runs
        self._rebuild()

    def _note(self, fact: Message, at_ms: int) -> None:
        if not isinstance(fact, _MADE) or fact.step_id != self.step_id:
            return
        self.said.setdefault(fact.attempt, (at_ms, fact))
        if isinstance(fact, StepStarted):
            self.started[fact.attempt] = fact.instance
        if isinstance(fact, StepDone):
            self.ends.setdefault(fact.attempt, fact)  # the first one counts

    def _rebuild(self) -> None:
        """Build what the step is given as soon as an attempt is released, as it is then."""
        step = self.run.steps.get(self.step_id) if self.run else None
        if self.run is None or step is None or step.attempt in {0, *self.rebuilt}:
            return
        try:
            self.rebuilt[step.attempt] = step_ready(self.run, step)
        except InvariantBroken:  # read from a snapshot, after which it has been set back
            return

    @property
    def made(self) -> int:
        """How many attempts there were."""
        return max((0, *self.said, *self.rebuilt))

    def number_of(self, attempt: int | None) -> int:
        """Check which attempt is meant.

        Raises:
            RunNotFound, StepNotFound, AttemptNotFound: see `find_attempt`.
        """
        if not self.facts:
            raise RunNotFound(
                f"there is no run {self.run_id!r} in the log; `starlings runs` lists what there is"
            )
        if self.run is not None and self.step_id not in self.run.steps:
            names = ", ".join(list(self.run.steps)[:20])
            raise StepNotFound(f"run {self.run_id} has no step {self.step_id!r}; it has {names}")
        if not self.made:
            raise AttemptNotFound(self._why_never())
        number = self.made if attempt is None else attempt
        if not 1 <= number <= self.made:
            raise AttemptNotFound(
                f"step {self.step_id!r} of run {self.run_id} has made {self.made} "
                f"attempt{'s' if self.made > 1 else ''}, and none of number {number}"
            )
        return number

    def _why_never(self) -> str:
        if self.run is not None:
            phase = self.run.steps[self.step_id].phase.value
            return f"step {self.step_id!r} of run {self.run_id} has not run: it is {phase}"
        return (
            f"the log has neither the plan of run {self.run_id} nor a word of its step "
            f"{self.step_id!r}: {self._unread_or_deleted()}"
        )

    def why_gone(self, number: int) -> str:
        """Say why it cannot be known what an attempt was given."""
        return (
            f"what attempt {number} of step {self.step_id!r} was given is not known any more: "
            f"{self._unread_or_deleted()}"
        )

    def why_unread(self, number: int) -> str | None:
        """Say why the end of an attempt cannot be read; None: it can, or there is none."""
        return self.unread.get(attempt_id(self.run_id, self.step_id, number, StepDone.NAME))

    def _unread_or_deleted(self) -> str:
        """Name what cannot be read of what tells it: without a run its beginning, or the work."""
        for ident, why in self.unread.items():
            kind = ident.rpartition("/")[2]
            if kind in _BEGINNINGS or (self.run is not None and kind != RunDone.NAME):
                return f"{ident} cannot be read: {why}"
        return (
            "retention has deleted it; an archive that was exported earlier may have it: --from "
            "FILE"
        )

    async def work(self, log: RunLog, number: int) -> tuple[StepReady, Origin] | None:
        """Find the attempt's `step_ready` where it was published."""
        at_ms, said = self.said.get(number, (None, self.rebuilt.get(number)))
        agent, variant = getattr(said, "agent", None), getattr(said, "variant", None)
        if agent is None:
            return None
        ident = attempt_id(self.run_id, self.step_id, number, StepReady.NAME)
        topic, key = log.topics.steps(agent, variant), step_key(self.run_id, self.step_id)
        async for record in log.work(topic, key, at_ms):
            if header(record.headers, "ce_id") != ident:
                continue
            try:
                received = await log.codec.decode(record, default=StepReady)
            except UndecodableMessage as error:
                self.unread[ident] = str(error)
                return None
            if received is not None and isinstance(received.message, StepReady):
                return received.message, received.origin
        return None

    def why_settled(self, number: int) -> str | None:
        """Say why the result of an attempt would not count; None: the run waits for it."""
        step = self.run.steps.get(self.step_id) if self.run else None
        if number in self.ends:
            return "the attempt has its result in the log, and the first one counts"
        if self.why_unread(number) is not None:
            return "the attempt has a result in the log, which cannot be read; the first one counts"
        if self.run is None or step is None:
            return "the log does not tell how the run stands"
        if self.ended or self.run.phase in (RunPhase.ENDING, RunPhase.ENDED):
            return "the run has ended"
        if step.attempt != number:
            return f"attempt {step.attempt} has followed it"
        return None if step.phase in OUT else f"the step is {step.phase.value}"
