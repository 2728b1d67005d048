"""What would run again if a group were moved, and what of that would take effect again.

It tells what the group's members would do with each record, by the rules that they go by: ids that
they remember, results and stops in the log, jobs and answers in their checkpoints. Nothing is
changed by looking. Memory is bounded: beyond `MOST` records only their number is known.
"""

from __future__ import annotations

from contextlib import aclosing

from aiokafka import ConsumerRecord, TopicPartition

from starlings.agents.stops import Stops
from starlings.kafka.codec import Codec, Received
from starlings.kafka.connection import Connection
from starlings.kafka.follow import Follower
from starlings.kafka.partition import id_of
from starlings.kafka.readback import read_back
from starlings.kafka.recent_ids import RecentIds, Window
from starlings.messages import (
    CompensationDone,
    CompensationReady,
    PlanCreated,
    PlanRejected,
    ReplanReady,
    RunDone,
    StarlingsError,
    StepDone,
    StepReady,
    StopRequested,
    Topics,
    handled_id,
    header,
    message_id,
    run_id_at,
    work_of,
)

from .done_again import Entry, Fate, Preview
from .group_moves import GroupMove, records_again
from .groups import Group, GroupKind, group_of, standing
from .kept_work import KeptWork, read_kept_work
from .ranges import ranges_of
from .reading import LogReader

MOST = 100_000
SKEW_MS = 60_000  # between the clocks of those who produce and of the brokers
NEAR = 500  # records: a compensation that lies so near is fetched before its step is begun

_ENDS = {RunDone.CE_TYPE, PlanRejected.CE_TYPE}
_STEP, _UNDO = f"/{StepReady.NAME}", f"/{CompensationReady.NAME}/"


class LookAhead:
    """Looks at what a move of one group would do."""

    def __init__(self, connection: Connection, codec: Codec, topics: Topics) -> None:
        self._connection = connection
        self._codec = codec
        self._topics = topics

    async def at(self, move: GroupMove) -> Preview:
        """Say what becomes of each record that is to be done again.

        Raises:
            ConfigError: something may not be read.
            KafkaError, TransientError: Kafka is away.
        """
        group = move.standing.group
        preview = Preview()
        if move.again == 0:
            return preview
        stops = await self._stops() if group.kind is GroupKind.STEPS else Stops()
        oldest_ms = await self._collect(preview, move, stops)
        if group.kind is GroupKind.STEPS:
            kept = await self._kept(move)
            self._heed_compensations(preview)
            self._heed_kept(preview, kept)
        if group.kind is not GroupKind.COORDINATOR and preview.entries:
            await self._heed_log(preview, group, oldest_ms - SKEW_MS)
        return preview

    # -- the records themselves ------------------------------------------------------------------

    async def _collect(self, preview: Preview, move: GroupMove, stops: Stops) -> int:
        remembered = await self._remembered(move)
        oldest_ms = 0
        group = move.standing.group
        async with aclosing(records_again(self._connection, move)) as records:
            async for record in records:
                if len(preview.entries) >= MOST:
                    preview.uncounted += 1
                    continue
                oldest_ms = min(oldest_ms or record.timestamp, record.timestamp)
                entry = _entry(record, group)
                ids = remembered[TopicPartition(record.topic, record.partition)]
                if ids.repeated(id_of(record), record.offset, record.timestamp):
                    entry.fate = Fate.REPEAT
                elif await self._is_stopped(record, entry, stops):
                    entry.fate = Fate.STOPPED
                preview.entries.append(entry)
        return oldest_ms

    async def _remembered(self, move: GroupMove) -> dict[TopicPartition, RecentIds]:
        """Remember what a member remembers that is assigned the partition after the move."""
        return {
            m.place: await read_back(
                self._connection,
                m.place,
                begin=m.before.begin,
                low=m.after.low,
                window=Window(),
            )
            for m in move.moves
            if m.again
        }

    async def _stops(self) -> Stops:
        stops = Stops()
        follower = Follower(
            self._connection, self._codec, self._topics.control, from_start=True, to_end=True
        )
        async for received in follower:
            if isinstance(received, Received) and isinstance(received.message, StopRequested):
                stops.add(received.message)
        return stops

    async def _is_stopped(self, record: ConsumerRecord, entry: Entry, stops: Stops) -> bool:
        if not stops.knows(entry.run_id):
            return False
        try:
            received = await self._codec.decode(record, default=StepReady)
        except StarlingsError:
            return False  # it goes to the dead letters, again
        work = received.message if received is not None else None
        return isinstance(work, StepReady | CompensationReady) and stops.covers(work)

    # -- what is known of them elsewhere -----------------------------------------------------------

    def _heed_compensations(self, preview: Preview) -> None:
        """Tell which steps are refused, since their compensation has been seen by then."""
        undone = {
            (entry.partition, entry.work): entry.offset
            for entry in reversed(preview.entries)
            if _UNDO in entry.id
        }
        for entry in preview.entries:
            at = undone.get((entry.partition, entry.work)) if entry.id.endswith(_STEP) else None
            if at is not None and entry.fate is Fate.COUNTS and at - entry.offset <= NEAR:
                entry.fate = Fate.REFUSED

    async def _kept(self, move: GroupMove) -> KeptWork:
        topic = self._topics.checkpoints(move.standing.group.serves)
        partitions = [m.place.partition for m in move.moves if m.again]
        return await read_kept_work(self._connection, topic, partitions)

    def _heed_kept(self, preview: Preview, kept: KeptWork) -> None:
        for entry in preview.entries:
            if entry.fate is not Fate.COUNTS:
                continue
            if (entry.partition, entry.work) in kept.jobs:
                entry.fate = Fate.JOB
            preview.kept_answers += (entry.partition, entry.work) in kept.calls

    async def _heed_log(self, preview: Preview, group: Group, since_ms: int) -> None:
        """Tell what has a result, and which runs have ended, by the log of facts."""
        open_ = [entry for entry in preview.entries if entry.fate is Fate.COUNTS]
        results: dict[str, list[Entry]] = {}
        by_run: dict[str, list[Entry]] = {}
        for entry in open_:
            results.setdefault(entry.result, []).append(entry)
            if group.kind is GroupKind.PLANNER:
                rejected = message_id(entry.run_id, PlanRejected.NAME)
                results.setdefault(rejected, []).append(entry)
            by_run.setdefault(entry.run_id, []).append(entry)
        forgotten = await self._forgotten() if group.kind is GroupKind.PLANNER else {}
        ranges = await ranges_of(self._connection, [self._topics.events], since_ms=max(since_ms, 0))
        async for record in LogReader(self._connection, ranges).records():
            kind = header(record.headers, "ce_type")
            for entry in results.get(header(record.headers, "ce_id") or "", ()):
                entry.fate = entry.known
            if kind in _ENDS and record.offset < forgotten.get(record.partition, 0):
                run_id = (record.key or b"").decode(errors="replace")
                for entry in by_run.get(run_id, ()):
                    entry.fate = Fate.RESTARTS
        if group.kind is GroupKind.PLANNER:
            for entry in open_:  # retention has deleted the whole run
                entry.fate = Fate.RESTARTS if entry.fate is Fate.COUNTS else entry.fate

    async def _forgotten(self) -> dict[int, int]:
        """Say from where on the coordinator knows ends of runs, by partition of the facts."""
        group = group_of(self._topics, self._topics.coordinator_group)
        if group is None:
            return {}
        found = await standing(self._connection, group)
        return {p.place.partition: p.restore_from or 0 for p in found.positions}


def _entry(record: ConsumerRecord, group: Group) -> Entry:
    ident = header(record.headers, "ce_id") or id_of(record).decode(errors="replace")
    key = (record.key or b"").decode(errors="replace")
    entry = Entry(
        partition=record.partition,
        offset=record.offset,
        id=ident,
        run_id=header(record.headers, "ce_subject") or key.partition("/")[0],
        fate=Fate.COUNTS,
        known=Fate.AGAIN,
        work=work_of(id_of(record).decode(errors="replace")),
    )
    if group.kind is GroupKind.COORDINATOR:
        entry.fate = Fate.READ
    elif group.kind is GroupKind.PLANNER:
        _of_request(entry, record)
    elif group.kind is GroupKind.REACTIONS:
        entry.result = handled_id(ident, group.agent)
        entry.known = Fate.REACTED_AGAIN
    elif _UNDO in ident:
        entry.work = ident.partition(_UNDO)[0]
        entry.result = ident.replace(_UNDO, f"/{CompensationDone.NAME}/")
        entry.known = Fate.UNDONE_AGAIN
    else:
        entry.result = f"{ident.removesuffix(_STEP)}/{StepDone.NAME}"
    return entry


def _of_request(entry: Entry, record: ConsumerRecord) -> None:
    entry.run_id = entry.run_id or run_id_at(record.topic, record.partition, record.offset)
    entry.known = Fate.PLANNED_AGAIN
    entry.result = message_id(entry.run_id, PlanCreated.NAME)
    if header(record.headers, "ce_type") == ReplanReady.CE_TYPE:
        entry.fate = Fate.PLANNED_AGAIN
