"""One partition of `events`: fold what comes in, publish what is owed, say how far to go back.

The order of actions is the protocol: a decision is published, acknowledged, and only then
confirmed; nothing is published before the log has been folded to the end it had at the assignment.
A crash between any two of them repeats a decision under the same id, which its readers drop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import (
    CarryPolicy,
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
from starlings.kafka.codec import Codec, Received
from starlings.messages import (
    ErrorInfo,
    InvariantBroken,
    Message,
    PlanCreated,
    PlanRejected,
    RunDone,
    StepScheduled,
    StepSkipped,
    StopAnnounced,
    TimerFired,
    Topics,
    UndecodableMessage,
    error_info,
    header,
    message_id,
    run_key,
    snapshot_id,
    timer_id,
)

from .outbox import NO_CAUSE, Cause, Outbox, Parcel
from .timers import TimerQueue

log = structlog.get_logger()

CARRY_PER_ROUND = 50
READ_PER_TURN = 64
_CONFIRMING = {model.CE_TYPE: model.NAME for model in (StepScheduled, StepSkipped, StopAnnounced)}

Bury = Callable[[ConsumerRecord, ErrorInfo], Awaitable[None]]
ReadAt = Callable[[TopicPartition, int], Awaitable[Received | None]]


@dataclass(slots=True)
class Counters:
    """What the metrics tell of a coordinator."""

    facts: int = 0
    ignored: int = 0
    decisions: int = 0
    timers: int = 0
    carried: int = 0
    parked: int = 0
    undecodable: int = 0
    runs_begun: int = 0
    runs_ended: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What all partitions of one coordinator share."""

    codec: Codec
    outbox: Outbox
    topics: Topics
    bury: Bury
    read_at: ReadAt
    policy: CarryPolicy = field(default_factory=CarryPolicy)
    counters: Counters = field(default_factory=Counters)


class _Read(NamedTuple):
    """What one record led to."""

    run_id: str
    change: Change | Ignored
    cause: Cause = NO_CAUSE


def write_metadata(restore_from: int) -> str:
    """Write the offset metadata of a commit."""
    return json.dumps({"v": 1, "restore_from": restore_from})


def read_metadata(metadata: str | None) -> int | None:
    """Read `restore_from` out of a commit's metadata; None where it is missing or foreign."""
    try:
        value = json.loads(metadata or "").get("restore_from")
    except (ValueError, AttributeError):
        return None
    return value if isinstance(value, int) and value >= 0 else None


class Partition:
    """The runs of one partition, and what the coordinator does about them.

    `start` is where reading begins, `end` the end of the log when the partition was assigned.
    """

    def __init__(
        self, place: TopicPartition, around: Surroundings, *, start: int, end: int
    ) -> None:
        self.place = place
        self.start = start
        self.end = end
        self.ledger = Ledger(start=start, policy=around.policy)
        self.timers = TimerQueue()
        self._around = around
        self._count = around.counters
        self._carrying: dict[str, int] = {}  # run → as_of of a snapshot under way
        self._said_again: set[str] = set()

    @property
    def recovering(self) -> bool:
        """Whether the log has not been folded to its end yet."""
        return self.ledger.recovering

    # -- reading -------------------------------------------------------------------------------

    async def read(self, records: Sequence[ConsumerRecord]) -> None:
        """Fold records in order and publish what they newly require.

        A few at a turn of the event loop: what they require goes out while the next are folded.
        """
        for first in range(0, len(records), READ_PER_TURN):
            await self._read_some(records[first : first + READ_PER_TURN])
            await asyncio.sleep(0)

    async def _read_some(self, records: Iterable[ConsumerRecord]) -> None:
        parcels: list[Parcel] = []
        for record in records:
            run_id, change, cause = await self._read(record)
            self._count.facts += 1
            if isinstance(change, Ignored):
                self._count.ignored += 1
            elif not self.ledger.recovering and (change.decisions or change.timers):
                run = self.ledger.runs[run_id]
                parcels += await self._take_up(run, change.decisions, change.timers, cause)
        await self._around.outbox.send(parcels)

    async def _read(self, record: ConsumerRecord) -> _Read:
        place = Position(record.offset, record.timestamp)
        kind = header(record.headers, "ce_type")
        if kind in _CONFIRMING or kind == RunDone.CE_TYPE:
            quick = self._read_header(place, kind or "", record)
            if quick is not None:
                return quick
        received = await self._decode(record)
        if received is None:
            self.ledger.skip(place)
            return _Read("", Ignored("not a fact that this version knows"))
        run_id = getattr(received.message, "run_id", "")
        parked = run_id in self.ledger.parked
        change = self.ledger.fold(place, received.message)
        if isinstance(received.message, PlanCreated | PlanRejected):
            self._count.runs_begun += isinstance(change, Change)
        if not parked and run_id in self.ledger.parked:
            await self._report_parked(run_id, record)
        return _Read(run_id, change, Cause(received.envelope.id, received.envelope.traceparent))

    def _read_header(self, place: Position, kind: str, record: ConsumerRecord) -> _Read | None:
        """Take a fact of a coordinator from its headers: its body says nothing new."""
        run_id, ident = header(record.headers, "ce_subject"), header(record.headers, "ce_id")
        if not run_id or not ident:
            return None
        if kind == RunDone.CE_TYPE:
            self._said_again.discard(run_id)
            self._carrying.pop(run_id, None)
            self._count.runs_ended += run_id in self.ledger.runs
            return _Read(run_id, self.ledger.end(place, run_id))
        decision_id = confirmed_decision(_CONFIRMING[kind], ident)
        if decision_id is None:
            return None
        return _Read(run_id, self.ledger.confirm(place, run_id, decision_id))

    async def _decode(self, record: ConsumerRecord) -> Received | None:
        try:
            return await self._around.codec.decode(record)
        except UndecodableMessage as error:
            self._count.undecodable += 1
            await self._around.bury(record, error_info(error))
            return None

    async def _report_parked(self, run_id: str, record: ConsumerRecord) -> None:
        parked = self.ledger.parked[run_id]
        self._count.parked += 1
        log.error("run parked, the others go on", run_id=run_id, error=str(parked.error))
        await self._around.bury(record, error_info(parked.error))

    # -- recovery ------------------------------------------------------------------------------

    def must_read_again(self) -> bool:
        """Begin anew where a run was taken up at a repeat of its plan; say whether that is so."""
        if not self.ledger.misread:
            return False
        known = {**self.ledger.known_plans, **self.ledger.misread}
        log.info("reading again: plans were repeated", partition=self.place.partition)
        self.ledger = Ledger(start=self.start, policy=self._around.policy, known_plans=known)
        return True

    async def finish_recovery(self) -> None:
        """Publish everything that is decided and not confirmed, now that the end is reached."""
        self.ledger.finish_recovery()
        parcels: list[Parcel] = []
        for run in list(self.ledger.runs.values()):
            decisions, timers = obligations(run)
            parcels += await self._take_up(run, tuple(decisions), tuple(timers), NO_CAUSE)
        log.info(
            "partition recovered",
            partition=self.place.partition,
            restore_from=self.start,
            position=self.ledger.position,
            open_runs=len(self.ledger.runs),
            owed=len(parcels),
        )
        await self._around.outbox.send(parcels)

    # -- what follows --------------------------------------------------------------------------

    async def _take_up(
        self, run: Run, decisions: Sequence[Decision], timers: Sequence[Timer], cause: Cause
    ) -> list[Parcel]:
        for timer in timers:
            self.timers.add(run.run_id, timer)
        self._count.decisions += len(decisions)
        try:
            return [await self._around.outbox.parcel(run, d, cause) for d in decisions]
        except InvariantBroken as error:
            self.ledger.park(run.run_id, error)
            self._count.parked += 1
            log.exception("run parked, the others go on", run_id=run.run_id)
            return []

    async def tend(self, now_ms: int) -> None:
        """Fire what is due, answer repeats of plans, carry old runs forward."""
        if self.ledger.recovering:
            return
        due = self.timers.due(self.ledger.runs, now_ms)
        parcels = [self._timer_fired(run, timer) for run, timer in due]
        self._count.timers += len(parcels)
        await self._around.outbox.send(parcels)

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
        return self._on_events(run.run_id, ident, fact)

    def _on_events(self, run_id: str, ident: str, fact: Message) -> Parcel:
        return Parcel(self._around.topics.events, run_key(run_id), ident, run_id, fact)

    async def tend_slowly(self) -> None:
        """Do what can wait a second: carry runs forward and answer repeated plans."""
        if self.ledger.recovering:
            return
        parcels: list[Parcel] = []
        anchors = self.ledger.anchors
        self._carrying = {
            run_id: as_of
            for run_id, as_of in self._carrying.items()
            if run_id in anchors and anchors[run_id].offset <= as_of
        }
        for run_id in self.ledger.to_carry(CARRY_PER_ROUND + len(self._carrying)):
            if run_id in self._carrying:
                continue
            fact = self.ledger.carry(run_id)
            self._carrying[run_id] = fact.as_of
            ident = snapshot_id(run_id, fact.plan_offset, fact.as_of)
            parcels.append(self._on_events(run_id, ident, fact))
        self._count.carried += len(parcels)
        parcels += await self._ends_to_repeat()
        await self._around.outbox.send(parcels)

    async def _ends_to_repeat(self) -> list[Parcel]:
        parcels: list[Parcel] = []
        for run_id, end in list(self.ledger.repeated.items()):
            if run_id in self._said_again:
                continue
            received = await self._around.read_at(self.place, end.offset)
            if received is None:  # retention took it: no later reader can see it either
                self.ledger.repeated.pop(run_id, None)
            if received is not None and isinstance(received.message, RunDone):
                self._said_again.add(run_id)
                ident = message_id(run_id, RunDone.NAME)
                parcels.append(self._on_events(run_id, ident, received.message))
        return parcels

    def commit_point(self) -> tuple[int, str]:
        """Say what to commit: the position, and in its metadata how far back a reader must go."""
        return self.ledger.position, write_metadata(self.ledger.restore_from())
