"""A run's state as it was at any of its facts, forwards and backwards.

The facts are folded once, in their order, each with what came of it; every so many of them the
state is kept, as a snapshot. To go back is to take up the nearest state before, and to fold on from
there. What is seen is what every reader of the log saw then: the state after the fact, what it
newly required and why, or why it was ignored.

A run whose beginning is gone is seen from its snapshot on; facts before that are told, without a
state.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlings.choreography import (
    Change,
    Ignored,
    Run,
    Timer,
    begin,
    fold,
    goes_on,
    is_of_the_past,
    reopen,
    snapshot,
)
from starlings.choreography.fold import Beginning
from starlings.messages import (
    CancelRequested,
    ConfigError,
    EventHandled,
    Message,
    RetryRequested,
    RunSnapshot,
)

from .entries import Entry
from .reasons import reason_for

STATES_KEPT = 8
STATE_EVERY_LEAST = 250  # facts
UNKNOWN_YET = "the run is not known yet: its beginning is not in what was read"


class Decided(NamedTuple):
    """A decision, and why it was made."""

    id: str
    kind: str
    step_id: str | None
    reason: str


class Told(NamedTuple):
    """What came of a fact; `ignored` says why nothing did."""

    ignored: str = ""
    decided: tuple[Decided, ...] = ()
    timers: tuple[Timer, ...] = ()


@dataclass(slots=True)
class _State:
    """All that the next fact is folded into."""

    run: Run | None = None
    cancel: CancelRequested | None = None  # that came before the plan


class _Kept(NamedTuple):
    """A state that was kept, as of after the fact with this number."""

    number: int
    plan_offset: int
    saved: dict[str, Any] | None
    cancel: CancelRequested | None


@dataclass
class Travel:
    """The facts of one run, numbered from 0, and its state after the one that is looked at."""

    run_id: str
    facts: Sequence[Entry]
    number: int = -1  # of the fact that was folded last
    told: list[Told] = field(default_factory=list)
    _state: _State = field(default_factory=_State)
    _kept: list[_Kept] = field(default_factory=list)

    @property
    def run(self) -> Run | None:
        """The run as it stood after the fact; None where it was not known yet."""
        return self._state.run

    @property
    def fact(self) -> Entry:
        """The fact that is looked at."""
        return self.facts[self.number]

    # -- going ---------------------------------------------------------------------------------

    def go(self, number: int) -> None:
        """Look at the fact of a number; what is beyond the first or the last one is that."""
        number = max(0, min(number, len(self.facts) - 1))
        if number < self.number:
            self._go_back(number)
        while self.number < number:
            self._fold_next()

    def _go_back(self, number: int) -> None:
        at = bisect.bisect_right(self._kept, number, key=lambda kept: kept.number) - 1
        if at < 0:
            self.number, self._state = -1, _State()
            return
        kept = self._kept[at]
        run = None
        if kept.saved is not None:
            run = snapshot.load(self.run_id, kept.plan_offset, kept.saved)
        self.number, self._state = kept.number, _State(run, kept.cancel)

    def _fold_next(self) -> None:
        self.number += 1
        entry = self.facts[self.number]
        if entry.received is None:
            told = Told(ignored=entry.problem)
        else:
            try:
                outcome = self._fold(entry.received.message, entry)
            except Exception as error:
                outcome = Ignored(f"the core cannot fold it: {type(error).__name__}: {error}")
            told = self._tell(outcome, entry.received.message)
        if self.number == len(self.told):
            self.told.append(told)
        self._keep()

    def _keep(self) -> None:
        every = max(STATE_EVERY_LEAST, len(self.facts) // STATES_KEPT)
        is_new = not self._kept or self._kept[-1].number < self.number
        if self.number and self.number % every == 0 and is_new:
            run = self._state.run
            saved = snapshot.save(run) if run is not None else None
            offset = run.plan_offset if run is not None else 0
            self._kept.append(_Kept(self.number, offset, saved, self._state.cancel))

    # -- folding -------------------------------------------------------------------------------

    def _fold(self, fact: Message, entry: Entry) -> Change | Ignored:
        run = self._state.run
        if isinstance(fact, EventHandled):
            return Ignored("a reaction to a domain event: nobody planned it")
        if isinstance(fact, RunSnapshot):
            return self._take(fact)
        if isinstance(fact, RetryRequested) and goes_on(run, fact):
            return self._reopen(fact, entry)
        if run is None:
            return self._begin(fact, entry)
        if is_of_the_past(run, fact):
            return Ignored("the end of a time before the run was reopened")
        return fold(run, fact, at_ms=entry.record.timestamp)

    def _reopen(self, fact: RetryRequested, entry: Entry) -> Change | Ignored:
        reopened = reopen(fact, at_ms=entry.record.timestamp)
        if isinstance(reopened, Ignored):
            return reopened
        self._state.run, change = reopened
        return change

    def _begin(self, fact: Message, entry: Entry) -> Change | Ignored:
        state = self._state
        if isinstance(fact, CancelRequested):
            state.cancel = fact
            return Change()
        if not isinstance(fact, Beginning):
            return Ignored(UNKNOWN_YET)
        place = {"offset": entry.record.offset, "at_ms": entry.record.timestamp}
        state.run, change = begin(fact, **place, cancel=state.cancel)
        return change

    def _take(self, fact: RunSnapshot) -> Change | Ignored:
        """Take a run up whose beginning is gone, and fold what came since its state was kept."""
        if self._state.run is not None:
            return Ignored("the run was carried forward: the state is what is known already")
        run = snapshot.load(fact.run_id, fact.plan_offset, fact.state)
        for entry in self.facts[: self.number]:
            if entry.record.offset > fact.as_of and entry.received is not None:
                fold(run, entry.received.message, at_ms=entry.record.timestamp)
        self._state.run = run
        return Change()

    def _tell(self, outcome: Change | Ignored, fact: Message) -> Told:
        run = self._state.run
        if isinstance(outcome, Ignored) or run is None:
            return Told(ignored=outcome.reason if isinstance(outcome, Ignored) else "")
        if self.number < len(self.told):
            return self.told[self.number]
        decided = tuple(
            Decided(d.id, d.kind.value, d.step_id, reason_for(run, d, fact))
            for d in outcome.decisions
        )
        return Told(decided=decided, timers=outcome.timers)

    # -- finding -------------------------------------------------------------------------------

    def at_offset(self, offset: int) -> int:
        """Find the fact that lies at an offset.

        Raises:
            ConfigError: there lies none of this run; the nearest ones are named.
        """
        offsets = [entry.record.offset for entry in self.facts]
        at = bisect.bisect_left(offsets, offset)
        if at < len(offsets) and offsets[at] == offset:
            return at
        near = [str(offsets[n]) for n in (at - 1, at) if 0 <= n < len(offsets)]
        raise ConfigError(
            f"offset {offset} is not of run {self.run_id}: its facts lie from {offsets[0]} to "
            f"{offsets[-1]}, the nearest at {' and '.join(near)}"
        )

    def at_time(self, at_ms: int) -> int:
        """Find the last fact up to a time.

        Raises:
            ConfigError: the run had none by then.
        """
        found = [n for n, entry in enumerate(self.facts) if entry.record.timestamp <= at_ms]
        if not found:
            raise ConfigError(f"run {self.run_id} had no fact in the log by then; it begins later")
        return found[-1]

    def at_step(self, step_id: str) -> int:
        """Find the next fact about a step; after the last one, its first.

        Raises:
            ConfigError: no fact is about such a step.
        """
        about = [n for n, entry in enumerate(self.facts) if _step_of(entry) == step_id]
        if not about:
            steps = dict.fromkeys(step for entry in self.facts if (step := _step_of(entry)))
            there = ", ".join(list(steps)[:20]) or "none"
            raise ConfigError(
                f"no fact of run {self.run_id} is about a step {step_id!r}; there are facts about "
                f"{there}"
            )
        return next((n for n in about if n > self.number), about[0])


def _step_of(entry: Entry) -> str | None:
    return getattr(entry.received.message, "step_id", None) if entry.received else None
