"""The coordinator's protocol in miniature: every method is one action between two crashes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from starlings.choreography import (
    CONFIRMING,
    CarryPolicy,
    Change,
    Decision,
    DecisionKind,
    Ignored,
    Ledger,
    Position,
    Run,
    Timer,
    confirmation_for,
    confirmed_decision,
    message_for,
    obligations,
    snapshot,
)
from starlings.messages import (
    RunDone,
    TimerFired,
    generation_id,
    generation_of,
    snapshot_id,
    timer_id,
)
from starlings_coordinator.timers import TimerQueue

from .log import Log, Record


@dataclass(frozen=True)
class Parcel:
    """A message handed to the producer; `then` follows its acknowledgement."""

    topic: str
    id: str
    message: Any
    then: Parcel | None = None


def fold_record(ledger: Ledger, record: Record) -> Change | Ignored:
    """Fold a record as the shell does: the coordinator's own facts by their headers alone."""
    place, fact = Position(record.offset, record.at_ms), record.message
    if isinstance(fact, RunDone):
        return ledger.end(place, record.run_id, generation_of(record.id, RunDone.NAME))
    if fact.CE_TYPE in CONFIRMING:
        decision_id = confirmed_decision(fact.NAME, record.id)
        assert decision_id is not None
        return ledger.confirm(place, record.run_id, decision_id)
    return ledger.fold(place, fact)


def plain(run: Run) -> dict[str, Any]:
    """Write a run's state such that two equal runs are equal; heaps may differ in order."""
    in_order = {
        "ready": sorted(run.ready),
        "undo_ready": sorted(run.undo_ready),
        "asking": {name: sorted(steps) for name, steps in run.asking.items()},
    }
    return {name: getattr(run, name) for name in Run.__slots__} | in_order


class Coordinator:
    """One process that believes that the partition is its own."""

    def __init__(self, log: Log, *, start: int, policy: CarryPolicy) -> None:
        self.log = log
        self.start = start
        self.policy = policy
        self.end = len(log)
        self.wire: deque[Parcel] = deque()
        self.timers = TimerQueue()
        self.rereads = 0
        self._carrying: dict[str, int] = {}
        self._said_again: set[str] = set()
        self.ledger = Ledger(start=start, policy=policy)
        self._finish_recovery()

    @property
    def caught_up(self) -> bool:
        return not self.ledger.recovering and self.ledger.position == len(self.log)

    def read(self) -> None:
        """Fold one record, and hand what it requires to the producer."""
        if self.ledger.position >= len(self.log):
            return
        record = self.log.records[self.ledger.position]
        change = fold_record(self.ledger, record)
        assert not self.ledger.parked, self.ledger.parked
        if isinstance(record.message, RunDone):
            self._said_again.discard(record.run_id)
            self._carrying.pop(record.run_id, None)
        if isinstance(change, Change) and not self.ledger.recovering:
            run = self.ledger.runs.get(record.run_id)
            if run is not None:
                self._take_up(run, change.decisions, change.timers)
        self._finish_recovery()

    def _finish_recovery(self) -> None:
        if not self.ledger.recovering or self.ledger.position < self.end:
            return
        if self.ledger.misread:
            known = {**self.ledger.known_plans, **self.ledger.misread}
            self.ledger = Ledger(start=self.start, policy=self.policy, known_plans=known)
            self.rereads += 1
            return
        self.ledger.finish_recovery()
        for run in self.ledger.runs.values():
            decisions, timers = obligations(run)
            self._take_up(run, tuple(decisions), tuple(timers))

    def _take_up(
        self, run: Run, decisions: tuple[Decision, ...], timers: tuple[Timer, ...]
    ) -> None:
        for timer in timers:
            self.timers.add(run.run_id, timer)
        end = self.log.ends.get(run.run_id)
        for decision in decisions:
            past = end is None or end.message.generation < run.generation
            assert past or end.offset >= self.ledger.position, "decided after the end"
            self.wire.append(_parcel(run, decision))

    def fire(self, now_ms: int) -> None:
        """Hand timers that are due to the producer."""
        if self.ledger.recovering:
            return
        for run, timer in self.timers.due(self.ledger.runs, now_ms):
            kind, step_id, attempt = timer.key
            fact = TimerFired(
                run_id=run.run_id,
                kind=kind,
                step_id=step_id,
                attempt=attempt,
                due_ms=timer.due_ms,
            )
            ident = timer_id(run.run_id, kind.value, step_id, attempt, timer.due_ms)
            self.wire.append(Parcel("events", ident, fact))

    def carry(self) -> None:
        """Hand snapshots of old runs to the producer, each once until it is read back."""
        if self.ledger.recovering:
            return
        anchors = self.ledger.anchors
        self._carrying = {
            run_id: as_of
            for run_id, as_of in self._carrying.items()
            if run_id in anchors and anchors[run_id].offset <= as_of
        }
        for run_id in self.ledger.to_carry(2 + len(self._carrying)):
            if run_id in self._carrying:
                continue
            fact = self.ledger.carry(run_id)
            self._carrying[run_id] = fact.as_of
            _check_snapshot(self.ledger.runs[run_id])
            ident = snapshot_id(run_id, fact.plan_offset, fact.as_of)
            self.wire.append(Parcel("events", ident, fact))

    def answer(self) -> None:
        """Say the ends again that a repeated plan asks for."""
        if self.ledger.recovering:
            return
        for run_id, end in self.ledger.repeated.items():
            if run_id not in self._said_again:
                self._said_again.add(run_id)
                message = self.log.records[end.offset].message
                assert isinstance(message, RunDone)
                ident = generation_id(run_id, RunDone.NAME, message.generation)
                self.wire.append(Parcel("events", ident, message))

    def restore_from(self) -> int | None:
        """Say what to commit; nothing while recovering."""
        return None if self.ledger.recovering else self.ledger.restore_from()


_TOPICS = {
    DecisionKind.RELEASE: "steps",
    DecisionKind.UNDO: "steps",
    DecisionKind.PLAN_ANEW: "requests",
    DecisionKind.STOP: "control",
    DecisionKind.BURY: "dead-letters",
}


def _parcel(run: Run, decision: Decision) -> Parcel:
    confirmation = confirmation_for(run, decision)
    then = Parcel("events", *confirmation) if confirmation else None
    topic = _TOPICS.get(decision.kind, "events")
    return Parcel(topic, decision.id, message_for(run, decision), then)


def _check_snapshot(run: Run) -> None:
    loaded = snapshot.load(run.run_id, run.plan_offset, snapshot.save(run))
    assert plain(loaded) == plain(run), "a snapshot does not bring back what was saved"
