"""Work that lies on the topics of agents, held against what the core releases.

Records of those topics come before the facts: of each, a digest is kept under its id. Where a
digest differs, the record is read a second time, so that what differs can be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from aiokafka import ConsumerRecord

from starlings.choreography import Decision, DecisionKind, Run, message_for
from starlings.messages import CompensationReady, Message, StepReady

from .comparing import Mismatch, mismatch
from .decoding import FactReader
from .findings import Difference, Findings
from .owing import Owing

DIGEST_BYTES = 16
_WORK = {model.CE_TYPE.encode() for model in (StepReady, CompensationReady)}
_KINDS = (DecisionKind.RELEASE, DecisionKind.UNDO)
Place = tuple[str, int, int]


class _Suspect(NamedTuple):
    run_id: str
    id: str
    message: Message


class _Lies(NamedTuple):
    """Where a work lies, and its digest."""

    digest: bytes
    place: Place


@dataclass
class Released:
    """What lies on the topics of agents."""

    findings: Findings
    facts: FactReader
    _works: dict[bytes, list[_Lies]] = field(default_factory=dict)
    _suspects: dict[Place, _Suspect] = field(default_factory=dict)

    def add(self, record: ConsumerRecord) -> None:
        """Note a record of an agent's topic."""
        headers = dict(record.headers)
        ident = headers.get("ce_id")
        if headers.get("ce_type") in _WORK and ident and record.value is not None:
            place = (record.topic, record.partition, record.offset)
            self._works.setdefault(ident, []).append(_Lies(_digest(record.value), place))

    def compare(self, owing: Owing, run: Run, decisions: Iterable[Decision]) -> None:
        """Hold what is decided now against what lies there under its id."""
        for decision in decisions:
            if decision.kind not in _KINDS:
                continue
            works = self._works.get(decision.id.encode())
            if not works:
                continue
            message = message_for(run, decision)
            expected = _digest(message.as_json())
            for work in works:
                self.findings.counts.steps += 1
                if work.digest != expected:
                    self._suspects[work.place] = _Suspect(owing.run_id, decision.id, message)

    @property
    def is_suspicious(self) -> bool:
        """Tell whether records have to be read a second time."""
        return bool(self._suspects)

    async def look_again(self, record: ConsumerRecord) -> None:
        """Look at a record whose bytes are not those of what is owed."""
        suspect = self._suspects.get((record.topic, record.partition, record.offset))
        if suspect is None or any(d.run_id == suspect.run_id for d in self.findings.differences):
            return
        fact = await self.facts.read(record, dict(record.headers))
        found = mismatch(fact, suspect.message) if fact is not None else None
        if fact is None:
            why = self.facts.why or f"the work at offset {record.offset} cannot be read"
            self.findings.unjudged[suspect.run_id] = f"{record.topic}: {why}"
        elif found is not None:
            self._differ(suspect, record, found)

    def _differ(self, suspect: _Suspect, record: ConsumerRecord, found: Mismatch) -> None:
        path, theirs, ours = found
        self.findings.differences.append(
            Difference(
                suspect.run_id,
                record.topic,
                record.partition,
                record.offset,
                suspect.id,
                "the work was published otherwise than it is owed",
                path,
                theirs,
                ours,
            )
        )


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=DIGEST_BYTES).digest()
