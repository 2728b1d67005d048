"""Runs that have not ended, as the log tells them, and those of them that stand still.

Read as a coordinator would that takes the partitions over: from the `restore_from` that its group
has committed, so it costs what the open runs cost, and not what the history does.

A run stands still where nothing will happen by itself: a timer is overdue or a decision unpublished
(nobody coordinates its partition), or agents that have no timeout say nothing. One that is paused,
or asks people, waits for them, and one with a timer that is still to come will go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import Run, TimerKey
from starlings.choreography.transitions import OUT, Phase
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import HUMAN, RunSnapshot, Topics, header

from .findings import Findings
from .groups import Group, GroupKind, standing
from .partition_check import PartitionCheck
from .ranges import Range, ranges_of
from .reading import LogReader

LATE_MS = 60_000  # after which what a coordinator does at once, or on time, is late
NAMED = 3


class Standstill(StrEnum):
    """Why nothing happens in a run."""

    TIMER = "timer"
    OWED = "owed"
    SILENT = "silent"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class StuckRun:
    """A run that stands still."""

    run_id: str
    partition: int
    why: Standstill
    said: str
    silent_ms: int
    agents: tuple[str, ...] = ()


@dataclass(slots=True)
class OpenRuns:
    """What was found in the log: how many runs are open, and which of them stand still."""

    open: int = 0
    waiting: int = 0  # for people
    stuck: list[StuckRun] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)  # partitions that lack facts that runs need


async def open_runs(
    connection: Connection, codec: Codec, topics: Topics, *, now_ms: int, patience_ms: int
) -> OpenRuns:
    """Fold the tail of the log, and judge the runs that are open at its end.

    `patience_ms`: how long agents without a timeout may say nothing.

    Raises:
        ConfigError: the log may not be read.
        TransientError, KafkaError: Kafka is away.
    """
    found, reader = OpenRuns(), _Tail(codec)
    for each in await _tail(connection, topics, found):
        reader.open(each)
    async for record in LogReader(connection, reader.ranges).records():
        await reader.read(record)
    for place, check in reader.checks.items():
        check.ledger.finish_recovery()
        known = check.ledger.runs.items()
        for run_id, run in known:
            silent_ms = now_ms - reader.last_ms(place, run_id)
            _count(found, place, run, now_ms=now_ms, silent_ms=silent_ms, patience_ms=patience_ms)
        found.open += len(known) + len(check.ledger.parked)
        for parked in check.ledger.parked.values():
            said = f"{parked.error!r} at offset {parked.offset}"
            silent_ms = now_ms - parked.at_ms
            run_id = parked.run_id
            found.stuck.append(
                StuckRun(run_id, place.partition, Standstill.PARKED, said, silent_ms)
            )
    found.stuck.sort(key=lambda stuck: -stuck.silent_ms)
    return found


def why_stuck(
    run: Run, *, now_ms: int, silent_ms: int, patience_ms: int
) -> tuple[Standstill, str] | None:
    """Say why nothing will happen in a run by itself; None where something will, or people must."""
    overdue = [key for key, due_ms in run.timers.items() if due_ms + LATE_MS < now_ms]
    if overdue:
        return Standstill.TIMER, f"{_timer(overdue[0])} is overdue"
    if run.owed and silent_ms > LATE_MS:
        some = ", ".join([*run.owed][:NAMED])
        return Standstill.OWED, f"{len(run.owed)} decisions are not in the log ({some})"
    if waits_for_people(run) or run.timers or silent_ms <= patience_ms:
        return None
    silent = [f"{step.spec.id} ({step.spec.agent})" for step in run.order if step.phase in OUT]
    if silent:
        return Standstill.SILENT, f"no word of {', '.join(silent[:NAMED])}, without a timeout"
    return Standstill.SILENT, "nothing is at work in it"


def waits_for_people(run: Run) -> bool:
    """Tell whether a run waits for somebody to say something."""
    return run.paused or any(
        step.phase is Phase.ASKING or (step.phase in OUT and step.spec.agent == HUMAN)
        for step in run.order
    )


async def _tail(connection: Connection, topics: Topics, found: OpenRuns) -> list[Range]:
    group = Group(topics.coordinator_group, topics.events, GroupKind.COORDINATOR)
    from_ = {
        position.place.partition: position.restore_from or 0
        for position in (await standing(connection, group)).positions
    }
    ranges = await ranges_of(connection, [topics.events])
    found.cut = sorted(r.partition for r in ranges if 0 < from_[r.partition] < r.begin)
    return [r.model_copy(update={"first": max(r.first, from_[r.partition])}) for r in ranges]


class _Tail:
    """Folds the records of some ranges, each partition by itself."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.ranges: list[Range] = []
        self.checks: dict[TopicPartition, PartitionCheck] = {}
        self._first_ms: dict[TopicPartition, int] = {}
        self._last_ms: dict[str, int] = {}

    def open(self, found: Range) -> None:
        """Begin with a partition."""
        self.ranges.append(found)
        self.checks[found.place] = PartitionCheck(
            found.place, Findings(), codec=self._codec, start=found.first, tail_ms=0
        )

    async def read(self, record: ConsumerRecord) -> None:
        """Fold a record, and note when its run was last heard of."""
        place = TopicPartition(record.topic, record.partition)
        self._first_ms.setdefault(place, record.timestamp)
        if header(record.headers, "ce_type") != RunSnapshot.CE_TYPE:
            run_id = header(record.headers, "ce_subject") or ""
            self._last_ms[run_id] = record.timestamp
        await self.checks[place].read(record)

    def last_ms(self, place: TopicPartition, run_id: str) -> int:
        """Say when a run was last heard of; not later than when reading began, if not since."""
        return self._last_ms.get(run_id, self._first_ms.get(place, 0))


def _count(
    found: OpenRuns,
    place: TopicPartition,
    run: Run,
    *,
    now_ms: int,
    silent_ms: int,
    patience_ms: int,
) -> None:
    found.waiting += waits_for_people(run)
    why = why_stuck(run, now_ms=now_ms, silent_ms=silent_ms, patience_ms=patience_ms)
    if why is None:
        return
    agents = tuple(sorted({step.spec.agent for step in run.order if step.phase in OUT}))
    found.stuck.append(StuckRun(run.run_id, place.partition, *why, silent_ms, agents))


def _timer(key: TimerKey) -> str:
    of = f" of step {key.step_id}" if key.step_id else ""
    return f"the timer {key.kind.value}{of}"
