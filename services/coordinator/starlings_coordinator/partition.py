"""One partition of `events`: fold what comes in, publish what is owed, say how far to go back.

The order of actions is the protocol: a decision is published, acknowledged, and only then
confirmed; nothing is published before the log has been folded to the end it had at the assignment.
A crash between any two of them repeats a decision under the same id, which its readers drop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import (
    CONFIRMING,
    Change,
    Decision,
    Ignored,
    Ledger,
    Position,
    Run,
    Timer,
    confirmed_decision,
    obligations,
)
from starlings.kafka.codec import Received
from starlings.kafka.restore_point import write_metadata
from starlings.messages import (
    EventHandled,
    PlanCreated,
    PlanRejected,
    RetryRequested,
    RunDone,
    RunForked,
    RunSnapshot,
    TimerFired,
    TransientError,
    UndecodableMessage,
    error_info,
    generation_of,
    header,
    message_id,
    timer_id,
)

from .commits import Start
from .decoding import decode_patiently, insist_on_burial, stand_in
from .outbox import NO_CAUSE, Cause, Parcel
from .reporting import Reporting
from .surroundings import Surroundings
from .timers import TimerQueue
from .traces import RunTraces
from .upkeep import Upkeep

log = structlog.get_logger()

READ_PER_TURN = 64
_BEGINS = (PlanCreated, PlanRejected, RunForked, RetryRequested)


class _Read(NamedTuple):
    """What one record led to."""

    run_id: str
    change: Change | Ignored
    cause: Cause = NO_CAUSE


class Partition:
    """The runs of one partition, and what the coordinator does about them.

    `start` is where reading begins, `end` the end of the log when the partition was assigned; what
    cannot be read before `handled` has been reported by an earlier owner.
    """

    def __init__(
        self, place: TopicPartition, around: Surroundings, *, start: Start, end: int
    ) -> None:
        self.place = place
        self.start = start.restore_from
        self.end = end
        self.ledger = Ledger(start=self.start, policy=around.policy)
        self.timers = TimerQueue()
        self.reading: asyncio.Task[None] | None = None
        self._around = around
        self._count = around.counters
        self._handled = start.handled
        self._outgoing: list[Parcel] = []
        self._unread: list[tuple[ConsumerRecord, UndecodableMessage]] = []
        self._upkeep = Upkeep(place, around)
        self._reporting = Reporting(place.partition, every_s=around.state_report_s)
        self._traces = RunTraces(around.tracer)

    @property
    def recovering(self) -> bool:
        """Whether the log has not been folded to its end yet."""
        return self.ledger.recovering

    @property
    def position(self) -> int:
        """Which record comes next."""
        return self.ledger.position

    @property
    def busy(self) -> bool:
        """Whether records are being read that were fetched earlier."""
        return self.reading is not None

    # -- reading -------------------------------------------------------------------------------

    def start_reading(self, records: Sequence[ConsumerRecord]) -> None:
        """Begin to read records, beside the other partitions."""
        self.reading = asyncio.create_task(self.read(records))

    def has_read(self) -> bool:
        """Say whether what was begun has been read; raise what it failed with."""
        if self.reading is not None and self.reading.done():
            reading, self.reading = self.reading, None
            reading.result()
        return self.reading is None

    def close(self) -> None:
        """Let go of the partition: somebody else has it."""
        if self.reading is not None:
            self.reading.cancel()
        self._upkeep.close()

    async def read(self, records: Sequence[ConsumerRecord]) -> None:
        """Fold records in order and publish what they newly require.

        A few at a turn of the event loop: what they require goes out while the next are folded.
        """
        for first in range(0, len(records), READ_PER_TURN):
            for record in records[first : first + READ_PER_TURN]:
                if record.offset < self.ledger.position:
                    continue  # fetched before a rebalance, and again after it
                run_id, change, cause = await self._read(record)
                self._handled = max(self._handled, record.offset + 1)
                self._count.facts += 1
                if isinstance(change, Ignored):
                    self._count.ignored += 1
                elif not self.ledger.recovering and (change.decisions or change.timers):
                    run = self.ledger.runs[run_id]
                    self._take_up(run, change.decisions, change.timers, cause)
            self._send_outgoing()
            await asyncio.sleep(0)

    def _send_outgoing(self) -> None:
        if not self.ledger.recovering:
            self._answer_for_unread()
            parcels, self._outgoing = self._outgoing, []
            self._around.outbox.send(parcels)

    async def _read(self, record: ConsumerRecord) -> _Read:
        place = Position(record.offset, record.timestamp)
        kind = header(record.headers, "ce_type")
        if kind in CONFIRMING or kind == RunDone.CE_TYPE:
            quick = self._read_header(place, kind or "", record)
            if quick is not None:
                return quick
        foreign = kind == EventHandled.CE_TYPE  # free choreography: nobody here decides anything
        received = None if foreign else await self._decode(record)
        if received is None:
            self.ledger.skip(place)
            return _Read("", Ignored("not a fact that this version knows"))
        run_id = getattr(received.message, "run_id", "")
        parked = self.ledger.is_parked(run_id)
        change = self.ledger.fold(place, received.message)
        if isinstance(received.message, _BEGINS):
            self._count.runs_begun += isinstance(change, Change)
            if isinstance(change, Change):
                self._traces.begin(run_id, received)
        elif isinstance(received.message, RunSnapshot) and run_id in self.ledger.runs:
            self._traces.resume(run_id, received)
        if not parked and run_id in self.ledger.parked:
            await self._report_parked(run_id, record)
        return _Read(run_id, change, Cause(received.envelope.id, received.envelope.traceparent))

    def _read_header(self, place: Position, kind: str, record: ConsumerRecord) -> _Read | None:
        """Take a fact of a coordinator from its headers: its body says nothing new."""
        run_id, ident = header(record.headers, "ce_subject"), header(record.headers, "ce_id")
        if not run_id or not ident:
            return None
        if kind == RunDone.CE_TYPE:
            return self._read_end(place, run_id, generation_of(ident, RunDone.NAME))
        decision_id = confirmed_decision(CONFIRMING[kind], ident)
        if decision_id is None:
            return None
        return _Read(run_id, self.ledger.confirm(place, run_id, decision_id))

    def _read_end(self, place: Position, run_id: str, generation: int) -> _Read:
        run = self.ledger.runs.get(run_id)
        change = self.ledger.end(place, run_id, generation)
        if run_id not in self.ledger.runs:  # else it was an end of the past
            self._upkeep.forget(run_id)
            self._traces.forget(run_id)
            self._count.runs_ended += run is not None
        return _Read(run_id, change)

    async def _decode(self, record: ConsumerRecord) -> Received | None:
        codec = self._around.codec
        try:
            try:
                return await codec.decode(record)
            except TransientError:
                self._send_outgoing()  # nobody else's steps shall wait for this value
                return await decode_patiently(codec, record, self._around.blob_patience_s)
        except UndecodableMessage as error:
            await self._give_up(record, error)
            return None

    async def _give_up(self, record: ConsumerRecord, error: UndecodableMessage) -> None:
        if record.offset >= self._handled:
            self._count.undecodable += 1
            await insist_on_burial(self._around.bury, record, error_info(error))
        self._unread.append((record, error))

    def _answer_for_unread(self) -> None:
        """Tell the log of what could not be read, where a run waits for it still."""
        for record, error in self._unread:
            fact = stand_in(self.ledger, record, error)
            if fact is not None:
                run_id = header(record.headers, "ce_subject") or ""
                ident = header(record.headers, "ce_id") or message_id(run_id, fact.NAME)
                self._outgoing.append(self._around.outbox.on_events(run_id, ident, fact))
        self._unread.clear()

    async def _report_parked(self, run_id: str, record: ConsumerRecord) -> None:
        parked = self.ledger.parked[run_id]
        self._count.parked += 1
        log.error("run parked, the others go on", run_id=run_id, error=str(parked.error))
        if record.offset >= self._handled:
            await insist_on_burial(self._around.bury, record, error_info(parked.error))

    # -- recovery ------------------------------------------------------------------------------

    def must_read_again(self) -> bool:
        """Begin anew where a run was taken up at a repeat of its plan; say whether that is so."""
        if not self.ledger.misread:
            return False
        known = {**self.ledger.known_plans, **self.ledger.misread}
        log.info("reading again: plans were repeated", partition=self.place.partition)
        self.ledger = Ledger(start=self.start, policy=self._around.policy, known_plans=known)
        self._unread.clear()
        return True

    def finish_recovery(self) -> None:
        """Publish everything that is decided and not confirmed, now that the end is reached."""
        self.ledger.finish_recovery()
        for run in list(self.ledger.runs.values()):
            decisions, timers = obligations(run)
            self._take_up(run, tuple(decisions), tuple(timers), NO_CAUSE)
        tell = log.info if self.ledger.runs else log.debug
        tell(
            "partition recovered",
            partition=self.place.partition,
            restore_from=self.start,
            position=self.ledger.position,
            open_runs=len(self.ledger.runs),
            owed=len(self._outgoing),
        )
        self._send_outgoing()

    # -- what follows --------------------------------------------------------------------------

    def _take_up(
        self, run: Run, decisions: Sequence[Decision], timers: Sequence[Timer], cause: Cause
    ) -> None:
        for timer in timers:
            self.timers.add(run.run_id, timer)
        self._count.decisions += len(decisions)
        if cause.traceparent is None:  # a timer, a word from kcat: the trace is the run's
            cause = cause._replace(traceparent=self._traces.of(run.run_id))
        if self._around.tracer.on:
            self._traces.tell_ends(run, decisions, cause)
        try:
            self._outgoing += [self._around.outbox.parcel(run, d, cause) for d in decisions]
        except Exception as error:
            self.ledger.park(run.run_id, error)
            self._count.parked += 1
            log.exception("run parked, the others go on", run_id=run.run_id)

    def tend(self, now_ms: int) -> None:
        """Fire the timers that are due."""
        if self.ledger.recovering:
            return
        due = self.timers.due(self.ledger.runs, now_ms)
        parcels = [self._timer_fired(run, timer) for run, timer in due]
        self._count.timers += len(parcels)
        self._around.outbox.send(parcels)

    def _timer_fired(self, run: Run, timer: Timer) -> Parcel:
        key = timer.key
        fact = TimerFired(
            run_id=run.run_id,
            kind=key.kind,
            step_id=key.step_id,
            attempt=key.attempt,
            due_ms=timer.due_ms,
        )
        ident = timer_id(run.run_id, key.kind.value, key.step_id, key.attempt, timer.due_ms)
        return self._around.outbox.on_events(run.run_id, ident, fact)

    def tend_slowly(self) -> None:
        """Do what can wait a second."""
        self._traces.keep_only(self.ledger.runs.keys())
        self._upkeep.tend(self.ledger, self._traces)
        self._reporting.tend(self.ledger)

    def commit_point(self) -> tuple[int, str]:
        """Say what to commit: the position, and in its metadata how far back a reader must go."""
        metadata = write_metadata(self.ledger.restore_from(), self._reporting.latest)
        return self._handled, metadata
