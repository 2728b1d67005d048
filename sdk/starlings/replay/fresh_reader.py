"""A reader of one partition of `events` that knows nothing yet, as a coordinator that starts.

It folds what a coordinator folds, in the same way, and publishes nothing. What it cannot read
although a coordinator could, or a state that another version wrote down and that it took up, puts
the run in doubt until its end is read.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import ConsumerRecord

from starlings.choreography import CarryPolicy, Ledger, Position
from starlings.choreography.snapshot import STATE_VERSION
from starlings.kafka.codec import Codec
from starlings.messages import Message, RetryRequested, RunDone, RunSnapshot, generation_of

from .decoding import FactReader
from .from_headers import DECIDED, HANDLED, RUN_DONE, decided_by

FORGET_EVERY = 8_192  # records
_OURS = b"starlings."


class FreshReader:
    """Reads from `start` on; with `is_whole` nothing ever lay before that."""

    def __init__(self, start: int, *, codec: Codec, policy: CarryPolicy, is_whole: bool) -> None:
        self.start = start
        self.records = 0
        self.doubts: dict[str, str] = {}  # run → why its state may be another one
        self.of_others: dict[str, str] = {}  # run → a state of another version, taken up or not
        self._facts = FactReader(codec)
        self._policy = policy
        self._is_whole = is_whole
        self.ledger = self._new_ledger({})

    def _new_ledger(self, known: Mapping[str, int]) -> Ledger:
        ledger = Ledger(start=self.start, policy=self._policy, known_plans=known)
        if self._is_whole:
            ledger.finish_recovery()
        return ledger

    async def read(self, record: ConsumerRecord) -> None:
        """Fold the next record; what was read before is passed over."""
        if record.offset < self.ledger.position:
            return
        self.records += 1
        headers: dict[str, bytes] = dict(reversed(record.headers))  # the first of a name counts
        await self._fold(record, headers)
        if self.records % FORGET_EVERY == 0:
            self.ledger.restore_from()  # forgets ends behind the look-back

    async def _fold(self, record: ConsumerRecord, headers: dict[str, bytes]) -> None:
        place = Position(record.offset, record.timestamp)
        kind = headers.get("ce_type", b"")
        decided = decided_by(kind, headers) if kind in DECIDED else None
        if kind == HANDLED:
            self.ledger.skip(place)
        elif decided is not None:
            self._fold_decision(place, kind, *decided)
        else:
            fact = await self._facts.read(record, headers)
            if fact is None:
                self._doubt_unread(record, headers)
                self.ledger.skip(place)
            else:
                self._fold_fact(place, fact)

    def _fold_fact(self, place: Position, fact: Message) -> None:
        run_id: str = getattr(fact, "run_id", "")
        before = self.ledger.runs.get(run_id)
        self.ledger.fold(place, fact)
        if isinstance(fact, RunDone):
            self._settle(run_id)
        elif isinstance(fact, RunSnapshot | RetryRequested):
            version = fact.state.get("version")
            if version != STATE_VERSION:
                why = f"its state at offset {place.offset} was written in version {version}, this"
                self.of_others[run_id] = why = f"{why} is {STATE_VERSION}"
                if self.ledger.runs.get(run_id) is not before:
                    self.doubts.setdefault(run_id, why)

    def _fold_decision(self, place: Position, kind: bytes, run_id: str, decision_id: str) -> None:
        if kind == RUN_DONE:
            self.ledger.end(place, run_id, generation_of(decision_id, RunDone.NAME))
            self._settle(run_id)
        else:
            self.ledger.confirm(place, run_id, decision_id)

    def _doubt_unread(self, record: ConsumerRecord, headers: dict[str, bytes]) -> None:
        if self._facts.why and (headers.get("ce_type") or b"").startswith(_OURS):
            name = headers.get("ce_subject") or record.key or b""
            self.doubts.setdefault(name.decode(errors="replace"), self._facts.why)

    def _settle(self, run_id: str) -> None:
        """Forget doubts about a run that has ended."""
        self.doubts.pop(run_id, None)
        self.of_others.pop(run_id, None)

    def has_ended(self) -> bool:
        """Come to an end; False: all has to be read again, for plans were repeated."""
        if self.ledger.misread:
            known = {**self.ledger.known_plans, **self.ledger.misread}
            self.ledger = self._new_ledger(known)
            self.records = 0
            return False
        self.ledger.finish_recovery()
        self.ledger.restore_from()
        return True
