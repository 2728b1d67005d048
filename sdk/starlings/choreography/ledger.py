"""All runs of one partition of `events`: the coordinator's recovery protocol, without any I/O.

The log is the only truth and its own outbox. A ledger that has folded the log from `start` (a
committed `restore_from`) to its end knows what one that folded all of it knows:

- A run is known from its `plan_created` (or `run_forked`, which is all that is said of plans
  here), or, where that lies before `start`, from a `run_snapshot`
  that carried it forward. Facts of a run not known yet are held while recovering, until its
  snapshot arrives. Once recovered, a reader knows every open run: a snapshot of another one is a
  late word of a coordinator that has not read the run's end.
- A snapshot says which `plan_created` began its run. A reader that took a later repeat of the plan
  for the beginning finds that out (`misread`), and reads again knowing better.
- `restore_from` is the smallest offset that any open run still needs, computed from what the log
  holds, and stays behind the head by a look-back, so that the repeat of a plan whose run has just
  ended is recognised. Such a repeat is answered by repeating the run's `run_done`; until that is in
  the log, the run's end counts as needed.
- A run that has ended goes on when `retry_requested` asks for it: that word brings the run along,
  so it is where a later reader begins. Ends of earlier generations are then of the past. A repeat
  of such a word may be met where the original is not: the facts of a run that was taken up from one
  are held as well while recovering, and a snapshot goes before it.
- A cancel that arrives before its plan is kept for as long as the look-back; so it needs no place
  of its own in `restore_from`.
- A run on which the fold breaks is parked with its report; the others go on. Its anchor keeps it
  for better code until the log has gone on by `carry_after_records`. It is forgotten when that is
  over and the fact on which the fold broke lies behind the look-back: so the log alone says who is
  known as parked, and that are no more than there are facts in that stretch of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from typing import NamedTuple

from starlings.messages.base import Message
from starlings.messages.commands import CancelRequested, RetryRequested
from starlings.messages.domain import EventHandled
from starlings.messages.facts import PlanCreated, PlanRejected, RunDone, RunSnapshot
from starlings.messages.forking import RunForked

from . import snapshot
from .confirming import confirm, record_end
from .fold import Beginning, begin, fold
from .reopening import reopen
from .state import Change, Ignored, Run

UNKNOWN_RUN = Ignored("no such run is open")


@dataclass(frozen=True)
class CarryPolicy:
    """When runs are carried forward, and how far back repeats are recognised."""

    look_back_records: int = 200_000
    look_back_ms: int = 600_000
    carry_after_records: int = 50_000
    carry_after_ms: int = 10 * 86_400_000  # a third of the default retention of events
    sample_every: int = 512  # records between two points of the clock that maps times to offsets


# Types of facts are asked for by `type(…) is`: for such models `isinstance` takes five times as
# long, and every record of the log is asked.
_BEGINS = (PlanCreated, PlanRejected, RunForked)
_OPENS = (*_BEGINS, RetryRequested)


class Position(NamedTuple):
    """A record's place in the log, in both of its measures."""

    offset: int
    at_ms: int


class Parked(NamedTuple):
    """A run that the fold could not go on with."""

    run_id: str
    offset: int
    error: Exception
    at_ms: int = 0


@dataclass
class Ledger:
    """The runs of one partition, as the log from `start` up to `position` tells them."""

    start: int = 0
    policy: CarryPolicy = field(default_factory=CarryPolicy)
    known_plans: Mapping[str, int] = field(default_factory=dict)
    recovering: bool = True
    position: int = field(init=False)
    now_ms: int = 0
    runs: dict[str, Run] = field(default_factory=dict)
    anchors: dict[str, Position] = field(default_factory=dict)
    ended: dict[str, Position] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)  # of ended runs, where not the first
    repeated: dict[str, Position] = field(default_factory=dict)  # ends that must be said again
    early: dict[str, tuple[Position, CancelRequested]] = field(default_factory=dict)
    held: dict[str, list[tuple[Position, Message | str]]] = field(default_factory=dict)
    parked: dict[str, Parked] = field(default_factory=dict)
    misread: dict[str, int] = field(default_factory=dict)  # runs begun at a repeat of their plan
    reopened: set[str] = field(default_factory=set)  # runs begun at a retry, while recovering
    _clock: deque[Position] = field(default_factory=deque)
    _next_sample: int = -1  # the offset at which the clock is told next

    def __post_init__(self) -> None:
        """Stand at the beginning of what will be read."""
        self.position = self.start

    # -- reading the log -----------------------------------------------------------------------

    def fold(self, place: Position, fact: Message) -> Change | Ignored:
        """Fold one decoded fact at its place in the log."""
        self._step_to(place)
        run_id: str = getattr(fact, "run_id", "")
        if type(fact) is RunDone:
            return self._end(run_id, place, fact.generation)
        if type(fact) is EventHandled:  # of no run that is planned: never held for one
            return Ignored("a reaction to a domain event")
        if self.parked and self.is_parked(run_id):
            return Ignored("the run is parked")
        try:
            return self._fold(run_id, place, fact)
        except Exception as error:
            self.park(run_id, error)
            return Ignored(f"the run is parked now: {error}")

    def confirm(self, place: Position, run_id: str, decision_id: str) -> Change | Ignored:
        """Note from a header alone that a decision is in the log."""
        self._step_to(place)
        run = self.runs.get(run_id)
        if self._holds(run_id):
            self.held.setdefault(run_id, []).append((place, decision_id))
        return confirm(run, decision_id, at_ms=place.at_ms) if run is not None else UNKNOWN_RUN

    def end(self, place: Position, run_id: str, generation: int) -> Change | Ignored:
        """Note from a header alone that a run's `run_done` is in the log."""
        self._step_to(place)
        return self._end(run_id, place, generation)

    def _holds(self, run_id: str) -> bool:
        """Whether facts of a run are kept for the snapshot that may follow."""
        return self.recovering and (run_id not in self.runs or run_id in self.reopened)

    def skip(self, place: Position) -> None:
        """Pass over a record that says nothing about runs."""
        self._step_to(place)

    def finish_recovery(self) -> None:
        """The end of the log has been reached: facts still held belong to runs long ended."""
        self.recovering = False
        self.held.clear()
        self.reopened.clear()
        self.known_plans = {}

    def _step_to(self, place: Position) -> None:
        self.position = place.offset + 1
        self.now_ms = max(self.now_ms, place.at_ms)
        if place.offset >= self._next_sample:
            self._clock.append(Position(place.offset, self.now_ms))
            self._next_sample = place.offset + self.policy.sample_every

    def _fold(self, run_id: str, place: Position, fact: Message) -> Change | Ignored:
        if type(fact) is RunSnapshot:
            return self._take_snapshot(place, fact)
        run = self.runs.get(run_id)
        if self.recovering and self._holds(run_id) and not isinstance(fact, _OPENS):
            self.held.setdefault(run_id, []).append((place, fact))
        if type(fact) is RetryRequested and (run is None or self._misreads(run, fact)):
            return self._reopen(place, fact)
        if run is not None:
            return fold(run, fact, at_ms=place.at_ms)
        if isinstance(fact, CancelRequested):  # also after an end, which a later reader may not see
            self.early[run_id] = (place, fact)
        if self._ended_lately(run_id):
            return self._after_the_end(run_id, fact)
        if isinstance(fact, _BEGINS):
            return self._begin(place, fact)
        return UNKNOWN_RUN

    def _misreads(self, run: Run, fact: RetryRequested | RunSnapshot) -> bool:
        """Whether this reader took a repeat of a run's plan for its beginning."""
        before = self.recovering and fact.plan_offset < self.start  # else the plan was read
        return before and run.plan_offset != fact.plan_offset

    def _reopen(self, place: Position, fact: RetryRequested) -> Change | Ignored:
        run_id = fact.run_id
        if run_id in self.runs:
            self.misread[run_id] = fact.plan_offset
            return Ignored("this reader began the run at another plan")
        if run_id in self.ended and fact.generation != self.generations.get(run_id, 0) + 1:
            return Ignored("a repeat: the run was reopened and has ended since")
        reopened = reopen(fact, at_ms=place.at_ms)
        if isinstance(reopened, Ignored):
            return reopened
        self.runs[run_id], change = reopened
        self.anchors[run_id] = place
        self._forget_end(run_id)
        self.repeated.pop(run_id, None)
        self.early.pop(run_id, None)
        if self.recovering:
            self.reopened.add(run_id)
        return change

    def _begin(self, place: Position, fact: Beginning) -> Change | Ignored:
        run_id = fact.run_id
        if run_id in self.known_plans and run_id not in self.ended:
            return Ignored("a repeat of a plan whose run was begun before the reader's start")
        self._forget_end(run_id)
        self.anchors[run_id] = place  # first, so that it holds for a run that is parked, too
        cancelled_at, cancel = self.early.pop(run_id, (None, None))
        if cancelled_at is not None and self._lately(cancelled_at):
            self.anchors[run_id] = cancelled_at  # later readers need the cancel as well
        else:
            cancel = None
        self.runs[run_id], change = begin(
            fact, offset=place.offset, at_ms=place.at_ms, cancel=cancel
        )
        return change

    def _take_snapshot(self, place: Position, fact: RunSnapshot) -> Change | Ignored:
        run_id = fact.run_id
        run = self.runs.get(run_id)
        if not self.start <= fact.as_of + 1 <= place.offset:
            return Ignored("the snapshot is of no use to this reader")
        needed = self.recovering and fact.plan_offset < self.start  # else the plan itself was read
        generation = fact.state.get("generation", 0)
        if run_id in self.ended and generation <= self.generations.get(run_id, 0):
            return Ignored("the snapshot is of a run that has ended")
        if run is not None and generation < run.generation:
            return Ignored("the run has been reopened since")
        if run is None and not needed:
            return Ignored("the snapshot is of a run that has ended")
        if run is None or (run_id in self.reopened and needed):
            self._load(place, fact)
        elif run.plan_offset != fact.plan_offset:
            if self._misreads(run, fact) and run_id not in self.known_plans:
                self.misread[run_id] = fact.plan_offset
            return Ignored("this reader began the run at another plan")
        elif fact.as_of + 1 > self.anchors[run_id].offset:
            self.anchors[run_id] = Position(fact.as_of + 1, place.at_ms)
        return Change()

    def _load(self, place: Position, fact: RunSnapshot) -> None:
        """Take a run up from its snapshot, and go on with the facts held for it."""
        run_id = fact.run_id
        self.anchors[run_id] = Position(fact.as_of + 1, place.at_ms)
        run = self.runs[run_id] = snapshot.load(run_id, fact.plan_offset, fact.state)
        for held_at, held in self.held.pop(run_id, []):
            if held_at.offset <= fact.as_of:
                continue
            if isinstance(held, str):
                confirm(run, held, at_ms=held_at.at_ms)
            else:
                fold(run, held, at_ms=held_at.at_ms)
        self.early.pop(run_id, None)
        self._forget_end(run_id)
        self.repeated.pop(run_id, None)  # an end of before it was reopened, where that was not read
        self.reopened.discard(run_id)

    def _end(self, run_id: str, place: Position, generation: int) -> Change | Ignored:
        run = self.runs.get(run_id)
        if generation < (run.generation if run else self.generations.get(run_id, 0)):
            return Ignored("the run has been reopened since")
        self._forget_end(run_id)
        self.ended[run_id] = place  # kept in the order of the log
        if generation:
            self.generations[run_id] = generation
        for known in (self.repeated, self.parked, self.early, self.anchors, self.runs):
            known.pop(run_id, None)
        self.reopened.discard(run_id)
        return record_end(run) if run else UNKNOWN_RUN

    def _forget_end(self, run_id: str) -> None:
        self.ended.pop(run_id, None)
        self.generations.pop(run_id, None)

    def _after_the_end(self, run_id: str, fact: Message) -> Change | Ignored:
        if isinstance(fact, _BEGINS):
            self.repeated[run_id] = self.ended[run_id]
        return Ignored("the run has ended")

    def park(self, run_id: str, error: Exception) -> None:
        """Set a run aside on which this code cannot go on."""
        self.parked[run_id] = Parked(run_id, self.position - 1, error, self.now_ms)
        self.runs.pop(run_id, None)

    def is_parked(self, run_id: str) -> bool:
        """Whether a run waits for better code still; one that has waited too long is forgotten."""
        parked = self.parked.get(run_id)
        if parked is None:
            return False
        if self._is_kept(parked):
            return True
        del self.parked[run_id]
        self.anchors.pop(run_id, None)
        return False

    def _is_kept(self, parked: Parked) -> bool:
        place = Position(parked.offset, parked.at_ms)
        return self._is_near(self.anchors.get(parked.run_id)) or self._lately(place)

    def _is_near(self, anchor: Position | None) -> bool:
        limit = self.policy.carry_after_records
        return anchor is not None and self.position - anchor.offset <= limit

    # -- looking back and carrying forward -----------------------------------------------------

    def _lately(self, then: Position) -> bool:
        """Whether a place lies within the look-back from the last record that was read."""
        return (
            self.position - 1 - then.offset <= self.policy.look_back_records
            and self.now_ms - then.at_ms <= self.policy.look_back_ms
        )

    def _ended_lately(self, run_id: str) -> bool:
        end = self.ended.get(run_id)
        return end is not None and (run_id in self.repeated or self._lately(end))

    def look_back_offset(self) -> int:
        """Find the first offset from which repeats must be recognised."""
        clock = self._clock
        while len(clock) > 1 and self.now_ms - clock[1].at_ms > self.policy.look_back_ms:
            clock.popleft()
        by_time = clock[0].offset if clock else self.start
        return max(by_time, self.position - self.policy.look_back_records, 0)

    def restore_from(self) -> int:
        """Compute the smallest offset that a later reader must begin at; forget what is older."""
        if self.recovering:  # not all that is needed is known yet
            return self.start
        needed = self.look_back_offset()
        self._forget(needed)
        places = chain(self.anchors.values(), self.repeated.values())
        needed = min(chain([needed], (place.offset for place in places)))
        return max(self.start, needed)

    def _forget(self, offset: int) -> None:
        for run_id in list(self.parked):  # waits for better code, but not for ever
            if self.is_parked(run_id) and not self._is_near(self.anchors.get(run_id)):
                self.anchors.pop(run_id, None)
        for run_id, (place, _) in list(self.early.items()):
            if not self._lately(place):
                del self.early[run_id]
        # in the order of the log, so that only what goes is looked at
        gone = takewhile(lambda entry: entry[1].offset < offset, self.ended.items())
        for run_id in [run_id for run_id, _ in gone if run_id not in self.repeated]:
            self._forget_end(run_id)

    def to_carry(self, limit: int) -> Iterator[str]:
        """Yield up to `limit` runs whose anchor has fallen too far behind the head."""
        too_far = self.position - max(self.policy.carry_after_records, 2 * len(self.runs))
        too_old_ms = self.now_ms - self.policy.carry_after_ms
        behind = (
            run_id
            for run_id, (offset, at_ms) in list(self.anchors.items())
            if (offset < too_far or at_ms < too_old_ms) and run_id in self.runs
        )
        return islice(behind, limit)

    def carry(self, run_id: str) -> RunSnapshot:
        """Take a snapshot of a run as of the last record that was folded."""
        run = self.runs[run_id]
        return RunSnapshot(
            run_id=run_id,
            as_of=self.position - 1,
            plan_offset=run.plan_offset,
            state=snapshot.save(run),
        )
