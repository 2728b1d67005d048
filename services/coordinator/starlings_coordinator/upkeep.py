"""What a partition does that can wait a second: carry old runs forward, say ends again.

A run is carried forward by a snapshot of it; until the log has that, it is not carried again. A
plan that is repeated after its run's end is answered by that end, as it lies in the log.
"""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from starlings.choreography import Ledger
from starlings.messages import StarlingsError, snapshot_id

from .outbox import Cause, Parcel
from .surroundings import Surroundings
from .traces import RunTraces

log = structlog.get_logger()

CARRY_PER_ROUND = 50
CARRY_STEPS_PER_ROUND = 5_000


class Upkeep:
    """The slow work of one partition; the ledger is handed in, for it may be read anew."""

    def __init__(self, place: TopicPartition, around: Surroundings) -> None:
        self._place = place
        self._around = around
        self._answering: asyncio.Task[None] | None = None
        self._carrying: dict[str, int] = {}  # run → as_of of a snapshot under way
        self._said_again: set[str] = set()

    def close(self) -> None:
        """Answer nobody any more."""
        if self._answering is not None:
            self._answering.cancel()

    def forget(self, run_id: str) -> None:
        """Let go of a run whose end is in the log."""
        self._said_again.discard(run_id)
        self._carrying.pop(run_id, None)

    def tend(self, ledger: Ledger, traces: RunTraces) -> None:
        """Carry runs forward, and begin to answer repeated plans."""
        self._said_again &= ledger.repeated.keys()
        if ledger.recovering:
            return
        self._around.outbox.send(self._snapshots(ledger, traces))
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._repeat_ends(ledger))

    def _snapshots(self, ledger: Ledger, traces: RunTraces) -> list[Parcel]:
        """Carry old runs forward: a few at a time, and not many steps at once."""
        parcels: list[Parcel] = []
        anchors = ledger.anchors
        self._carrying = {
            run_id: as_of
            for run_id, as_of in self._carrying.items()
            if run_id in anchors and anchors[run_id].offset <= as_of
        }
        steps = 0
        for run_id in ledger.to_carry(CARRY_PER_ROUND + len(self._carrying)):
            if run_id in self._carrying:
                continue
            fact = ledger.carry(run_id)
            self._carrying[run_id] = fact.as_of
            ident = snapshot_id(run_id, fact.plan_offset, fact.as_of)
            begun_by = Cause(traceparent=traces.of(run_id))
            parcels.append(self._around.outbox.on_events(run_id, ident, fact, begun_by))
            steps += len(ledger.runs[run_id].order)
            if steps >= CARRY_STEPS_PER_ROUND:
                break
        self._around.counters.carried += len(parcels)
        return parcels

    async def _repeat_ends(self, ledger: Ledger) -> None:
        """Say the ends again that repeated plans ask for, as they lie in the log."""
        for run_id, end in list(ledger.repeated.items()):
            if run_id in self._said_again:
                continue
            try:
                record = await self._around.record_at(self._place, end.offset)
                if record is None:  # retention took it: no later reader can see it either
                    ledger.repeated.pop(run_id, None)
                    continue
                self._said_again.add(run_id)
                await self._around.outbox.repeat(record)
            except (KafkaError, StarlingsError, OSError, TimeoutError) as error:
                self._said_again.discard(run_id)
                log.warning("an end is not said again yet", run_id=run_id, error=repr(error))
                return
