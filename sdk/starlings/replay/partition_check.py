"""One partition of `events`, folded again and judged; what that means is told in `verify.py`."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import Change, Ignored, Ledger, Position
from starlings.choreography.reopening import UNREADABLE
from starlings.kafka.codec import Codec
from starlings.messages import (
    AmendmentRejected,
    CompensationDone,
    Message,
    PlanAmended,
    RetryRequested,
    RunDone,
    RunSnapshot,
    StepDone,
    StepProgress,
    StepStarted,
    TimerFired,
    generation_of,
)

from .decoding import FactReader
from .findings import Findings
from .from_headers import CONFIRMING, DECIDED, HANDLED, RUN_DONE, decided_by
from .judging import NO_BEGINNING, Headers, Judge
from .released import Released

FORGET_EVERY = 8_192  # records
RECOVERY_RECORDS = 200_000  # by then every run that was open has been carried forward, or has ended
_BY_AGENTS = frozenset({StepStarted, StepProgress, StepDone, CompensationDone})


class PartitionCheck:
    """Verifies the records of one partition, read in their order from `start` on.

    `only`: runs by name; None: all. Where `start` is not the beginning of the log, runs that were
    open there are taken up from their snapshots. `chosen`: offsets that are missing were of others.
    """

    def __init__(
        self,
        place: TopicPartition,
        findings: Findings,
        *,
        codec: Codec,
        start: int,
        tail_ms: int,
        only: Collection[str] | None = None,
        released: Released | None = None,
        chosen: bool = False,
    ) -> None:
        self.place = place
        self._chosen = chosen
        self.ledger = Ledger(start=start)
        self._findings = findings
        self._counts = findings.counts
        self._facts = FactReader(codec)
        self._judge = Judge(place, findings, self._facts, tail_ms=tail_ms)
        self._only = None if only is None else {name.encode() for name in only}
        self._released = released
        self._until_forget = FORGET_EVERY
        self._first_ms = 0
        if start == 0:
            self.ledger.finish_recovery()

    # -- reading -------------------------------------------------------------------------------

    async def read(self, record: ConsumerRecord) -> Change | Ignored | None:
        """Judge and fold a record; say what the core made of it, None where it was not asked."""
        if record.offset != self.ledger.position and not self._is_next(record):
            return None
        self._counts.records += 1
        self._until_forget -= 1
        if self._until_forget <= 0:
            self._until_forget = FORGET_EVERY
            self._forget()
        place = Position(record.offset, record.timestamp)
        headers: Headers = dict(record.headers)
        self._first_ms = self._first_ms or record.timestamp
        kind = headers.get("ce_type", b"")
        if kind == HANDLED or (self._only is not None and not self._is_asked(record, headers)):
            self.ledger.skip(place)
            return None
        decided = decided_by(kind, headers) if kind in DECIDED else None
        if decided is not None:
            run = self.ledger.runs.get(decided[0])
            suspect = self._judge.judge(*decided, record, headers, run)
            if suspect is not None:
                await self._judge.compare(suspect, record, headers, run)
            return self._read_decision(place, *decided, headers)
        self._facts.foreign += kind in CONFIRMING  # under an id that no coordinator gives
        fact = self._facts.read_plain(record, headers)
        if fact is None:
            fact = await self._facts.read(record, headers)
        if fact is None:
            if self._facts.why:
                self._judge.doubt(self._facts.why, headers)
            self.ledger.skip(place)
            return None
        run = self.ledger.runs.get(getattr(fact, "run_id", ""))
        if type(fact) is PlanAmended or type(fact) is AmendmentRejected:
            await self._judge.judge_amendment(fact, record, headers, run)
        return self._read_fact(place, fact, record, headers)

    def _is_next(self, record: ConsumerRecord) -> bool:
        expected = self.ledger.position
        if record.offset < expected:
            self._counts.repeated += 1
            return False
        if not self._chosen:
            self._findings.note_gap(self.place, expected, record.offset)
            self._judge.doubt(f"offsets {expected} to {record.offset - 1} are not in what was read")
        return True

    def _is_asked(self, record: ConsumerRecord, headers: Headers) -> bool:
        return headers.get("ce_subject", record.key) in (self._only or ())

    def _read_decision(
        self, place: Position, run_id: str, decision_id: str, headers: Headers
    ) -> Change | Ignored:
        """Take a fact of a coordinator as coordinators do, from its headers."""
        if headers["ce_type"] != RUN_DONE:
            outcome = self.ledger.confirm(place, run_id, decision_id)
        else:
            run = self.ledger.runs.get(run_id)
            generation = generation_of(decision_id, RunDone.NAME)
            owing = self._judge.runs.get(run_id)
            if run is not None and owing is not None and generation >= run.generation:
                owing.end(run)
            outcome = self.ledger.end(place, run_id, generation)
            self.ledger.held.pop(run_id, None)
            if owing is None:
                self._judge.give_up(run_id, NO_BEGINNING)
        self._take_up(run_id, place, outcome)
        return outcome

    def _read_fact(
        self, place: Position, fact: Message, record: ConsumerRecord, headers: Headers
    ) -> Change | Ignored:
        run_id: str = getattr(fact, "run_id", "")
        run = self.ledger.runs.get(run_id)
        if type(fact) in _BY_AGENTS:
            self._judge.judge_cause(run_id, record, headers)
        elif type(fact) is TimerFired:
            self._judge.judge_timer(fact, record, headers)
        was_parked = run_id in self.ledger.parked
        outcome = self.ledger.fold(place, fact)
        if not was_parked and run_id in self.ledger.parked:
            self._parked(run_id, fact, place)
        elif isinstance(outcome, Change) and run is None and run_id in self.ledger.runs:
            self._begin(run_id, fact, place)
        elif isinstance(outcome, Ignored) and outcome.reason.startswith(UNREADABLE):
            self._judge.doubt(f"at offset {place.offset}: {outcome.reason}", headers)
        self._take_up(run_id, place, outcome)
        return outcome

    # -- runs ----------------------------------------------------------------------------------

    def _parked(self, run_id: str, fact: Message, place: Position) -> None:
        error = self.ledger.parked[run_id].error
        if isinstance(fact, RunSnapshot | RetryRequested):
            why = f"its state at offset {place.offset} cannot be read: {error}"
            self._judge.give_up(run_id, why)
            return
        owing = self._judge.begin(
            run_id, place.offset, is_whole=True, anew=False, now_ms=self.ledger.now_ms
        )
        what = f"the core cannot fold it: {type(error).__name__}: {error}"
        self._judge.differ(owing, place.offset, "", what)

    def _begin(self, run_id: str, fact: Message, place: Position) -> None:
        """Begin to judge a run that is known from now on; of a snapshot, all that it owes."""
        is_plan = not isinstance(fact, RunSnapshot | RetryRequested)
        now_ms = self.ledger.now_ms
        owing = self._judge.begin(
            run_id, place.offset, is_whole=is_plan, anew=is_plan, now_ms=now_ms
        )
        if self._only is not None:
            self._findings.named.add(run_id)
        if is_plan:
            owing.doubt = owing.doubt or self._why_not_the_beginning(run_id, place)
        if isinstance(fact, RunSnapshot):
            run = self.ledger.runs[run_id]
            self._judge.note(owing, run, place, tuple(run.owed.values()))

    def _why_not_the_beginning(self, run_id: str, place: Position) -> str:
        """Say why a plan may not be the first word of its run, in a log that is cut."""
        ledger = self.ledger
        if not ledger.recovering:
            return ""
        if run_id in ledger.held:
            return f"facts of it stand before its plan at offset {place.offset}"
        lately = place.at_ms - self._first_ms <= ledger.policy.look_back_ms
        near = "it was planned shortly after the beginning of what was read"
        return near if lately else ""

    def _take_up(self, run_id: str, place: Position, outcome: Change | Ignored) -> None:
        if isinstance(outcome, Ignored) or not (outcome.decisions or outcome.timers):
            return
        owing, run = self._judge.runs.get(run_id), self.ledger.runs.get(run_id)
        if owing is None or run is None or owing.difference is not None:
            return
        owing.set_timers(outcome.timers)
        self._judge.note(owing, run, place, outcome.decisions)
        if self._released is not None and owing.difference is None:
            self._released.compare(owing, run, outcome.decisions)

    def _forget(self) -> None:
        """Settle runs that have ended so long ago that nothing more is expected of them."""
        ledger = self.ledger
        if ledger.recovering:
            if ledger.position - ledger.start >= RECOVERY_RECORDS:
                self._finish_recovery()
            return
        ledger.restore_from()  # forgets ends behind the look-back
        known = (ledger.runs, ledger.ended, ledger.parked)
        for run_id in [r for r in self._judge.runs if not any(r in runs for runs in known)]:
            self._judge.settle(run_id, None, now_ms=ledger.now_ms)

    def _finish_recovery(self) -> None:
        for run_id in self.ledger.misread:
            self._judge.give_up(run_id, NO_BEGINNING)
        self.ledger.finish_recovery()

    def finish(self) -> None:
        """Come to a verdict about every run that is left."""
        self._finish_recovery()
        for run_id in list(self._judge.runs):
            run = self.ledger.runs.get(run_id)
            self._judge.settle(run_id, run, now_ms=self.ledger.now_ms)
        for run_id in list(self._judge.unknown):
            self._judge.give_up(run_id, NO_BEGINNING)
        self._findings.counts.foreign += self._facts.foreign
