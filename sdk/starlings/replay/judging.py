"""Holding what coordinators published in one partition against what its runs owed by then."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import Decision, Position, Run, RunPhase, TimerKey
from starlings.messages import AmendmentRejected, PlanAmended, TimerFired, timer_id

from .decoding import FactReader
from .findings import Difference, Findings
from .owing import Owed, Owing, content_mismatch

Headers = dict[str, bytes]

NO_BEGINNING = "its beginning is not in what was read, and no snapshot carries it forward there"
_WORK = ("/step_ready", "/compensation_ready/")


class Judge:
    """The runs of one partition, each with what it has owed."""

    def __init__(
        self, place: TopicPartition, findings: Findings, facts: FactReader, *, tail_ms: int
    ) -> None:
        self.runs: dict[str, Owing] = {}
        self.unknown: dict[str, set[str]] = {}  # runs → what was published of them until known
        self._place = place
        self._findings = findings
        self._count = findings.counts
        self._facts = facts
        self._tail_ms = tail_ms

    # -- as records come -----------------------------------------------------------------------

    def judge(
        self,
        run_id: str,
        decision_id: str,
        record: ConsumerRecord,
        headers: Headers,
        run: Run | None,
    ) -> tuple[Owing, Owed] | None:
        """Judge a record that is, or confirms, a decision; `run` as it stood before it.

        Where its bytes are not those that are owed, what has to be compared is returned.
        """
        owing = self.runs.get(run_id)
        if owing is None:
            self._count.unknown += 1
            self.unknown.setdefault(run_id, set()).add(decision_id)
            return None
        if owing.difference is not None:
            return None
        self._count.decisions += 1
        owed = owing.decided.get(decision_id)
        if owed is not None:
            owed.published = True
            is_same = record.value == owed.message.as_json()
            return None if is_same else (owing, owed)
        if decision_id not in owing.before:
            self.differ(owing, record.offset, _id(headers), _not_owed(run))
        return None

    async def compare(
        self,
        suspect: tuple[Owing, Owed] | None,
        record: ConsumerRecord,
        headers: Headers,
        run: Run | None,
    ) -> None:
        """Compare what a record says, where its bytes do not tell."""
        if suspect is None:
            return
        owing, owed = suspect
        fact = await self._facts.read(record, headers)
        if fact is None:
            owing.doubt = owing.doubt or self._facts.why
            return
        found = content_mismatch(fact, owed, run)
        if found is not None:
            what = "published otherwise than it is owed"
            path, theirs, ours = found
            said = {"path": path, "published": theirs, "owed": ours}
            self.differ(owing, record.offset, owed.decision.id, what, **said)

    async def judge_amendment(
        self,
        fact: PlanAmended | AmendmentRejected,
        record: ConsumerRecord,
        headers: Headers,
        run: Run | None,
    ) -> None:
        """Judge what became of an amendment."""
        ident = _id(headers)
        owing = self.runs.get(fact.run_id)
        if owing is not None and isinstance(fact, AmendmentRejected):
            amended = ident.replace(f"/{AmendmentRejected.NAME}", f"/{PlanAmended.NAME}")
            if ident not in owing.decided and amended in owing.decided:
                owing.decided[amended].published = True
                return  # its agents are not known: that is found out where it is published
        suspect = self.judge(fact.run_id, ident, record, headers, run)
        await self.compare(suspect, record, headers, run)

    def judge_timer(self, fact: TimerFired, record: ConsumerRecord, headers: Headers) -> None:
        """Judge whether a timer was to fire then."""
        owing = self.runs.get(fact.run_id)
        key = TimerKey(fact.kind, fact.step_id, fact.attempt or 0)
        ident = timer_id(fact.run_id, key.kind.value, key.step_id, key.attempt, fact.due_ms)
        if _id(headers) != ident:
            self._facts.foreign += 1
        elif owing is None:
            self._count.unknown += 1
        elif owing.difference is None:
            self._count.decisions += 1
            if owing.is_whole and not owing.was_set(key, fact.due_ms):
                last = list(owing.dues.get(key, ()))[-1:]
                said = {"published": fact.due_ms, "owed": last[0] if last else None}
                what = "a timer fired that was not set to this time"
                self.differ(owing, record.offset, ident, what, path="due_ms", **said)

    def judge_cause(self, run_id: str, record: ConsumerRecord, headers: Headers) -> None:
        """Judge whether what an agent did was ever decided."""
        owing = self.runs.get(run_id)
        if owing is None or not owing.is_whole or owing.difference is not None:
            return
        cause = str(headers.get("ce_causationid", b""), "utf-8", "replace")
        if cause in owing.decided:
            return
        if cause.startswith(f"{run_id}/") and any(mark in cause for mark in _WORK):
            what = f"done on account of {cause}, which is not owed by the facts before it"
            self.differ(owing, record.offset, _id(headers), what)

    def differ(self, owing: Owing, offset: int, ident: str, what: str, **said: Any) -> None:
        """Note the first difference of a run."""
        if owing.difference is None:
            topic, partition = self._place
            found = Difference(owing.run_id, topic, partition, offset, ident, what, **said)
            owing.difference = found
            owing.decided.clear()

    def doubt(self, why: str, headers: Headers | None = None) -> None:
        """Say why differences from now on may be the reader's own: of one run, or of all."""
        if headers is None:
            doubted = list(self.runs.values())
        else:
            owing = self.runs.get(headers.get("ce_subject", b"").decode(errors="replace"))
            doubted = [owing] if owing is not None else []
        for owing in doubted:
            owing.doubt = owing.doubt or why

    # -- as runs come and go -------------------------------------------------------------------

    def begin(self, run_id: str, offset: int, *, is_whole: bool, anew: bool, now_ms: int) -> Owing:
        """Begin to judge a run, or go on with one that was reopened."""
        if anew and run_id in self.runs:  # an id that comes back after long begins a new run
            self.settle(run_id, None, now_ms=now_ms)
        owing = self.runs.get(run_id)
        if owing is None:
            self._count.runs += 1
            owing = self.runs[run_id] = Owing(run_id, offset, is_whole)
            if not is_whole:
                self._findings.since[run_id] = offset
            self._findings.unjudged.pop(run_id, None)
        owing.before |= self.unknown.pop(run_id, set())
        return owing

    def note(
        self, owing: Owing, run: Run, place: Position, decisions: tuple[Decision, ...]
    ) -> None:
        """Note what a run owes from now on."""
        try:
            owing.note(run, place, decisions)
        except Exception as error:
            what = f"its message cannot be built: {type(error).__name__}: {error}"
            self.differ(owing, place.offset, decisions[0].id, what)

    def give_up(self, run_id: str, why: str) -> None:
        """Say why a run cannot be judged."""
        self.runs.pop(run_id, None)
        self.unknown.pop(run_id, None)
        self._findings.unjudged.setdefault(run_id, why)

    def settle(self, run_id: str, run: Run | None, *, now_ms: int) -> None:
        """Come to the verdict of a run; `run` where it is open still."""
        owing = self.runs.pop(run_id)
        if owing.difference is None:
            self._find_missing(owing, run, now_ms - self._tail_ms)
        self._count.open_runs += run is not None
        found = owing.difference
        if found is None:
            self._count.same += 1
        elif owing.doubt:
            why = f"{owing.doubt}; after that, at offset {found.offset}: {found.what}"
            self._findings.unjudged[run_id] = why
        else:
            self._findings.differences.append(found)

    def _find_missing(self, owing: Owing, run: Run | None, before_ms: int) -> None:
        """Look for what is owed since before the tail that may be in flight."""
        owed = list(owing.left)
        if run is not None:
            owed += [owing.decided[ident] for ident in run.owed if ident in owing.decided]
        for one in owed:
            if not one.published and one.place.at_ms < before_ms:
                what = "owed since then, and never published"
                said = {"owed": one.message.model_dump(mode="json", exclude_defaults=True)}
                self.differ(owing, one.place.offset, one.decision.id, what, **said)
                return
        if run is not None and run.phase is not RunPhase.ENDING:
            self._find_late_timer(owing, run, before_ms)

    def _find_late_timer(self, owing: Owing, run: Run, before_ms: int) -> None:
        for key, due_ms in run.timers.items():
            if due_ms < before_ms:
                ident = timer_id(run.run_id, key.kind.value, key.step_id, key.attempt, due_ms)
                what = "a timer was due then, and never fired"
                self.differ(owing, owing.begun, ident, what, path="due_ms", owed=due_ms)
                return


def _id(headers: Headers) -> str:
    return headers.get("ce_id", b"").decode(errors="replace")


def _not_owed(run: Run | None) -> str:
    stands = "has ended" if run is None else f"is {run.phase.value}"
    owed = list(run.owed if run is not None else ())[:3]
    said = f", and owes {', '.join(owed)}" if owed else ""
    return f"published, and not owed: by the facts before it the run {stands}{said}"
