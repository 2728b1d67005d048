"""Choosing records: by run, type, agent, step, outcome, time, offset, and what tells of a failure.

What headers, key and place tell is judged on the raw record, so that of a long log most is never
decoded. Where those do not say, bytes that every fitting value must contain are looked for; only
what passes that, too, has to be read (`Verdict.LOOK`), and `fits` decides.

Names are those of this version's messages (`step_done`); a name with a dot is any CloudEvents type,
taken as it stands (`facts.ticket_created`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord

from starlings.kafka.codec import CLAIM_HEADER, Received
from starlings.kafka.dead_letters import CODE
from starlings.messages import (
    MESSAGES,
    AmendmentRejected,
    CompensationAbandoned,
    ConfigError,
    DomainEvent,
    EventOutcome,
    PlanRejected,
    RunOutcome,
    RunRequested,
    StepDone,
    StepOutcome,
    StepSkipped,
    TimerFired,
    TimerKind,
    event_ce_type,
    header,
    run_id_at,
    split_ce_type,
)

OUTCOMES = frozenset(o.value for kind in (StepOutcome, RunOutcome, EventOutcome) for o in kind)
FAILED_OUTCOMES = frozenset(
    outcome.value
    for outcome in (
        StepOutcome.ERROR,
        RunOutcome.FAILED,
        RunOutcome.PARTIAL,
        RunOutcome.COMPENSATED,
        RunOutcome.COMPENSATION_FAILED,
        RunOutcome.REJECTED,
    )
)
_FAILURES = frozenset(m.NAME for m in (PlanRejected, AmendmentRejected, CompensationAbandoned))
_LIMITS = (
    TimerKind.QUEUE,
    TimerKind.RUN,
    TimerKind.HEARTBEAT,
    TimerKind.UNDO_RUN,
    TimerKind.DEADLINE,
)
_TIMER = re.compile(rf"/{TimerFired.NAME}/({'|'.join(kind.value for kind in TimerKind)})/")
_STEPS = ".steps."


class Verdict(Enum):
    """What a raw record tells of whether it fits."""

    NO = "no"
    LOOK = "look"  # it has to be read
    YES = "yes"


class Attempt(NamedTuple):
    """What an id tells that a decision made: `run/step/attempt/type`."""

    step_id: str
    attempt: int


@dataclass(frozen=True)
class Selection:
    """What is wanted: of every kind that is named, one of its names; times and offsets included."""

    runs: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    failed: bool = False
    since_ms: int | None = None
    until_ms: int | None = None
    first: int | None = None
    last: int | None = None

    def __post_init__(self) -> None:
        """Refuse what nothing can fit.

        Raises:
            ConfigError: a range ends before it begins, or a name is unknown.
        """
        if _is_empty(self.since_ms, self.until_ms):
            raise ConfigError("--since lies after --until: nothing can be both; exchange them")
        if _is_empty(self.first, self.last):
            raise ConfigError(
                f"offsets {self.first}..{self.last} end before they begin; exchange them"
            )
        object.__setattr__(self, "types", frozenset(known_type(name) for name in self.types))
        for outcome in self.outcomes - OUTCOMES:
            raise ConfigError(_unknown("outcome", outcome, OUTCOMES))

    def choices(self) -> dict[str, Any]:
        """Say in names of fields what was asked for; empty where that is everything."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in said.items()
            if value not in (None, False, frozenset())
        }

    def judge(self, record: ConsumerRecord) -> Verdict:
        """Judge a raw record."""
        look = False
        for judge in _JUDGES:
            verdict = judge(self, record)
            if verdict is Verdict.NO:
                return verdict
            look = look or verdict is Verdict.LOOK
        return Verdict.LOOK if look else Verdict.YES

    def fits(self, received: Received) -> bool:
        """Decide about a record that had to be read."""
        message = received.message
        return (
            _one_of(self.runs, run_of(received))
            and _one_of(self.types, type_of(message))
            and _one_of(self.agents, *_agents(message))
            and _one_of(self.steps, step_of(received))
            and _one_of(self.outcomes, _outcome(message))
            and (not self.failed or tells_failure(message))
        )


# -- names -----------------------------------------------------------------------------------------


def known_type(name: str) -> str:
    """Read the name of a type.

    Raises:
        ConfigError: there is no such message; the nearest is named.
    """
    ours = split_ce_type(name)
    wanted = ours[0] if ours else name
    if wanted not in MESSAGES and "." not in wanted:
        raise ConfigError(_unknown("type", name, MESSAGES))
    return wanted


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
    return f"there is no {kind} {name!r}; {hint}"


def type_of(message: Any) -> str:
    """Name a message's type as a selection does."""
    return event_ce_type(message.type) if isinstance(message, DomainEvent) else message.NAME


def named_type(record: ConsumerRecord) -> str | None:
    """Read a record's type from its headers; None where those name none."""
    said = header(record.headers, "ce_type")
    ours = split_ce_type(said) if said else None
    return ours[0] if ours else said


def named_run(record: ConsumerRecord) -> str | None:
    """Read from headers, else from the key, which run a record is about; None where they differ."""
    subject = header(record.headers, "ce_subject")
    if subject:
        return subject
    key = bytes(record.key or b"").decode(errors="replace")
    return (key.partition("/")[0] if _STEPS in f".{record.topic}" else key) or None


def run_of(received: Received) -> str:
    """Say which run a message is about, as its readers see it."""
    own = getattr(received.message, "run_id", None)
    said = own or received.envelope.subject or (received.key or b"").decode(errors="replace")
    origin = received.origin
    return said or run_id_at(origin.topic, origin.partition, origin.offset)


def attempt_of(ident: str) -> Attempt | None:
    """Read step and attempt out of an id; None where it is of another kind, and tells neither."""
    match ident.split("/"):
        case [_, step_id, number, name, *_] if number.isdecimal() and name in MESSAGES:
            return Attempt(step_id, int(number[:9]))
    return None


def step_of(received: Received) -> str | None:
    """Say which step a message is about; None where it is about none."""
    own: str | None = getattr(received.message, "step_id", None)
    named = None if own else attempt_of(received.envelope.id)
    return named.step_id if named else own


def tells_failure(message: Any) -> bool:
    """Say whether a message tells that something went wrong."""
    if isinstance(message, TimerFired):
        return message.kind in _LIMITS
    if isinstance(message, StepSkipped):
        return message.because is not None
    return message.NAME in _FAILURES or _outcome(message) in FAILED_OUTCOMES


# -- raw records -----------------------------------------------------------------------------------


def _by_place(wanted: Selection, record: ConsumerRecord) -> Verdict:
    fits = (
        (not wanted.partitions or record.partition in wanted.partitions)
        and (wanted.since_ms is None or record.timestamp >= wanted.since_ms)
        and (wanted.until_ms is None or record.timestamp <= wanted.until_ms)
        and (wanted.first is None or record.offset >= wanted.first)
        and (wanted.last is None or record.offset <= wanted.last)
    )
    return Verdict.YES if fits else Verdict.NO


def _by_run(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.runs:
        return Verdict.YES
    if named_run(record) in wanted.runs:
        return Verdict.YES
    bare = header(record.headers, "ce_subject") is None
    return _if(bare and named_type(record) in (None, RunRequested.NAME), Verdict.LOOK)


def _by_type(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.types:
        return Verdict.YES
    name = named_type(record)
    return Verdict.LOOK if name is None else _if(name in wanted.types, Verdict.YES)


def _by_agent(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.agents or _said_by(record, "agent") is Verdict.NO:
        return _if(not wanted.agents, Verdict.YES)
    return _containing(record, [name.partition(".")[0] for name in wanted.agents])


def _by_step(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.steps:
        return Verdict.YES
    named = attempt_of(header(record.headers, "ce_id") or "")
    if named is not None:
        return _if(named.step_id in wanted.steps, Verdict.YES)
    return _said_by(record, "step_id")


def _by_outcome(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.outcomes:
        return Verdict.YES
    said = _said_by(record, "outcome")
    return said if said is Verdict.NO else _containing(record, wanted.outcomes)


def _by_failure(wanted: Selection, record: ConsumerRecord) -> Verdict:
    if not wanted.failed:
        return Verdict.YES
    name = named_type(record)
    if name in _FAILURES or header(record.headers, CODE) is not None:
        return Verdict.YES
    if name == TimerFired.NAME:
        told = _TIMER.search(header(record.headers, "ce_id") or "")
        return Verdict.LOOK if told is None else _if(told[1] in _LIMITS, Verdict.YES)
    if name == StepDone.NAME:
        return _containing(record, ["error"])
    return _if(name is None or name == StepSkipped.NAME, Verdict.LOOK, _said_by(record, "outcome"))


_JUDGES: tuple[Callable[[Selection, ConsumerRecord], Verdict], ...] = (
    _by_place,
    _by_run,
    _by_type,
    _by_step,
    _by_failure,
    _by_outcome,
    _by_agent,
)


def _if(fits: bool, then: Verdict, otherwise: Verdict = Verdict.NO) -> Verdict:  # noqa: FBT001
    return then if fits else otherwise


def _said_by(record: ConsumerRecord, field: str) -> Verdict:
    """Tell by a record's type whether its value can say something."""
    name = named_type(record)
    model = MESSAGES.get(name) if name else None
    return _if(name is None or (model is not None and field in model.model_fields), Verdict.LOOK)


def _containing(record: ConsumerRecord, words: Collection[str]) -> Verdict:
    """Look for words in a value; one that lies elsewhere has to be fetched."""
    if header(record.headers, CLAIM_HEADER) is not None:
        return Verdict.LOOK
    value = record.value or b""
    return _if(any(word.encode() in value for word in words), Verdict.LOOK)


# -- messages --------------------------------------------------------------------------------------


def _agents(message: Any) -> list[str]:
    agent, variant = getattr(message, "agent", None), getattr(message, "variant", None)
    return [] if agent is None else [agent, f"{agent}.{variant}"]


def _outcome(message: Any) -> str | None:
    outcome = getattr(message, "outcome", None)
    return None if outcome is None else str(outcome)


def _one_of(wanted: Collection[str], *said: str | None) -> bool:
    return not wanted or any(each in wanted for each in said)


def _is_empty(first: int | None, last: int | None) -> bool:
    return first is not None and last is not None and first > last
