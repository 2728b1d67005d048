"""Agents, planners, clients and coordinators around one log; each method is one action.

Everything that can go wrong between two actions may: coordinators die with their unsent messages,
what they had sent arrives later or never, zombies work beside their successors and commit, plans
and results are repeated. The invariants are asserted where they could break (`log.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Any

from starlings.choreography import (
    Phase,
    Recorded,
    refusal,
    retell,
    snapshot,
)
from starlings.messages import (
    AmendmentProposed,
    ApprovalGiven,
    CancelRequested,
    CompensationDone,
    CompensationReady,
    PauseRequested,
    Problem,
    ReplanReady,
    ReplanRequested,
    ResumeRequested,
    RetryRequested,
    SignalReceived,
    StepDone,
    StepProgress,
    StepReady,
    StepStarted,
    message_id,
    replan_id,
)

from .coordinator import Coordinator, Parcel
from .log import Log
from .plans import another_plan, random_beginning
from .readers import SMALL, recovered, view
from .results import end_of

MAX_COORDINATORS = 3
LONGEST_CALM_S = 900  # ten tries to undo, with their pauses
EVERY_WORD = (*range(14), 21)  # to each step that may wait; an end of pauses


@dataclass
class Counts:
    crashes: int = 0
    zombies: int = 0
    snapshots: int = 0
    rereads: int = 0
    repeats: int = 0
    ended: int = 0
    undone: int = 0
    reopened: int = 0


@dataclass
class World:
    """One partition and all that happens around it."""

    seed: int
    log: Log = field(default_factory=Log)
    now_ms: int = 1_000_000
    committed: int = 0
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)  # noqa: S311 - a world that can be told again
        self.steps: list[tuple[str, StepReady | CompensationReady]] = []
        self.ghosts: deque[Parcel] = deque()  # sent by the dead, and still on their way
        self.working: list[StepReady | CompensationReady] = []
        self.late: list[tuple[str, StepDone | CompensationDone]] = []
        self.effects: dict[str, int] = {}
        self.planned: set[str] = set()
        self.questions: list[ReplanReady] = []
        self._taken: set[str] = set()
        self._next_work = 0
        self.coordinators = [self._new_coordinator()]

    def _new_coordinator(self) -> Coordinator:
        return Coordinator(self.log, start=self.committed, policy=SMALL)

    def append(self, ident: str, message: Any, *, decided: bool = True) -> None:
        self.log.append(ident, message, self.now_ms, decided=decided)

    # -- clients and planners ------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        self.now_ms += ms

    def plan(self, run_id: str) -> None:
        """Plan a run; where it has been planned, this is a repeat, or another plan under its id."""
        end = self.log.ends.get(run_id)
        if end is not None and not self._within_look_back(end):
            return  # the same id later is a new run
        fact: Any = random_beginning(self.rng, run_id)
        if run_id in self.planned:
            self.counts.repeats += 1
            if self.rng.random() < 0.5:
                fact = next(
                    r.message
                    for r in self.log.records
                    if r.run_id == run_id and r.id == message_id(run_id, "plan_created")
                )
        self.planned.add(run_id)
        self.append(message_id(run_id, "plan_created"), fact, decided=False)

    def _within_look_back(self, end: Any) -> bool:
        return (
            len(self.log) - end.offset <= SMALL.look_back_records
            and self.now_ms - end.at_ms <= SMALL.look_back_ms
        )

    def cancel(self, run_id: str) -> None:
        end = self.log.ends.get(run_id)
        if end is None or self._within_look_back(end):
            fact = CancelRequested(run_id=run_id, reason=f"at {len(self.log)}")
            self.append(f"{run_id}/cancel/{len(self.log)}", fact)

    def word(self, run_id: str, pick: int) -> None:
        """Give an approval, a signal, a pause or its end, whether anybody waits for it or not."""
        number = len(self.log)
        facts: list[Any] = [
            ApprovalGiven(run_id=run_id, step_id=f"s{pick % 7}", approved=pick % 5 != 0),
            SignalReceived(run_id=run_id, name="go", payload={"at": number}),
            PauseRequested(run_id=run_id),
            ResumeRequested(run_id=run_id),
            ReplanRequested(run_id=run_id, text=f"at {number}"),
        ]
        fact = facts[pick // 7 % len(facts)]
        self.append(f"{run_id}/{fact.NAME}/{number}", fact)

    def plan_anew(self, pick: int) -> None:
        """Answer a planner's question: with an amendment, with nonsense, late, or not at all."""
        if not self.questions:
            return
        ready = self.questions.pop(pick % len(self.questions))
        if pick % 9 == 0:
            return  # the planner is gone; the run's timer will tell
        problem = Problem(code="cannot", message="no", remedy="ask otherwise")
        amendment = another_plan(self.rng, ready) if pick % 7 else None
        fact = AmendmentProposed(
            run_id=ready.run_id,
            number=ready.number,
            amendment=amendment,
            problems=[] if amendment else [problem],
        )
        ident = replan_id(ready.run_id, ready.number, fact.NAME)
        for _ in range(1 + (pick % 5 == 0)):
            self.append(ident, fact, decided=False)  # each planner answers as it likes

    def retry(self, run_id: str, pick: int) -> None:
        """Ask a run that ended badly to go on, or repeat what was asked."""
        end, story = self.log.ends.get(run_id), self.log.stories.get(run_id)
        if end is None or story is None:
            return
        asked = f"{run_id}/retry_requested/{story.generation}"
        if pick % 3 == 0 and (not story.ended or self._within_look_back(end)):
            again = next((r for r in self.log.records if r.id == asked), None)
            if again is not None:
                self.append(asked, again.message)
            return
        if story.ended:
            self._reopen(run_id)

    def _reopen(self, run_id: str) -> None:
        history = [r for r in self.log.records if r.run_id == run_id]
        planned_at = next(r.offset for r in history if r.id == message_id(run_id, "plan_created"))
        if any(r.offset < planned_at for r in history):
            return  # a cancel, perhaps; whether it still counted, only the coordinator knows
        run = retell(Recorded(r.offset, r.at_ms, r.message) for r in history)
        ways = [w for w in (True, False) if run and not refusal(run, step_id=None, compensation=w)]
        if run is None or not ways:
            return
        self.counts.reopened += 1
        fact = RetryRequested(
            run_id=run_id,
            compensation=ways[0],
            generation=run.generation + 1,
            plan_offset=run.plan_offset,
            state=snapshot.save(run),
        )
        self.append(f"{run_id}/retry_requested/{fact.generation}", fact)

    # -- agents --------------------------------------------------------------------------------

    def take_work(self) -> None:
        """Take one message of work; repeats are dropped by id."""
        if self._next_work == len(self.steps):
            return
        ident, ready = self.steps[self._next_work]
        self._next_work += 1
        if ident not in self._taken:
            self._taken.add(ident)
            self.working.append(ready)

    def sign_of_life(self, pick: int) -> None:
        if self.working:
            ready = self.working[pick % len(self.working)]
            if isinstance(ready, CompensationReady):
                return
            about = {"run_id": ready.run_id, "step_id": ready.step_id, "attempt": ready.attempt}
            model = (StepStarted, StepProgress)[pick % 2]
            fact = model(**about, agent=ready.agent)
            self.append(f"{model.NAME}/{len(self.log)}", fact)

    def finish_work(self, pick: int) -> None:
        """End some attempt, in any order: well, badly, repeatedly, or silently."""
        if not self.working:
            return
        ready = self.working.pop(pick % len(self.working))
        if ready.timeouts.queue_s and pick % 7 == 0:
            return  # hangs for ever; its timeouts will tell
        ident, done = end_of(ready, pick)
        self.counts.undone += isinstance(done, CompensationDone)
        self.effects[ident] = self.effects.get(ident, 0) + 1
        if pick % 6 == 0:
            self.late.append((ident, done))
            return
        for _ in range(1 + (pick % 5 == 0)):
            self.append(ident, done)

    def late_result(self, pick: int) -> None:
        """Let a result arrive that was long on its way."""
        if self.late:
            self.append(*self.late.pop(pick % len(self.late)))

    # -- coordinators --------------------------------------------------------------------------

    def coordinator(self, pick: int) -> Coordinator:
        return self.coordinators[pick % len(self.coordinators)]

    def read(self, pick: int, count: int) -> None:
        """Let a coordinator read up to `count` records."""
        for _ in range(count):
            self.coordinator(pick).read()

    def land(self, pick: int) -> None:
        """Let the oldest message of a coordinator arrive; only the living hear of it."""
        coordinator = self.coordinator(pick)
        if coordinator.wire:
            parcel = coordinator.wire.popleft()
            self._arrive(parcel)
            if parcel.then is not None:
                coordinator.wire.append(parcel.then)

    def land_ghost(self) -> None:
        if self.ghosts:
            self._arrive(self.ghosts.popleft())

    def _arrive(self, parcel: Parcel) -> None:
        if parcel.topic == "events":
            self.counts.snapshots += parcel.message.NAME == "run_snapshot"
            self.append(parcel.id, parcel.message)
        elif parcel.topic == "steps":
            self.log.release(parcel.id, parcel.message)
            self.steps.append((parcel.id, parcel.message))
        elif parcel.topic == "requests":
            self.questions.append(parcel.message)
        else:
            self.log.same_content(parcel.id, parcel.message, parcel.message.model_dump_json())

    def crash(self, pick: int) -> None:
        """Kill a coordinator between two actions; a new one takes over where it committed."""
        dead = self.coordinators.pop(pick % len(self.coordinators))
        self.counts.crashes += 1
        self.counts.rereads += dead.rereads
        arrived = pick // 7 % (len(dead.wire) + 1)  # a prefix may have left the machine
        self.ghosts.extend(list(dead.wire)[:arrived])
        self.coordinators.append(self._new_coordinator())

    def take_over(self) -> None:
        """Start a coordinator while the others live on as zombies."""
        if len(self.coordinators) < MAX_COORDINATORS:
            self.counts.zombies += 1
            self.coordinators.append(self._new_coordinator())

    def commit(self, pick: int) -> None:
        restore_from = self.coordinator(pick).restore_from()
        if restore_from is not None:
            self.committed = restore_from

    # -- what must hold ------------------------------------------------------------------------

    def check_recovery(self) -> None:
        """Compare a reader from the commit, the living, and one that reads the whole log."""
        told = view(recovered(self.log, 0), self.planned)
        assert view(recovered(self.log, self.committed), self.planned) == told
        for coordinator in self.coordinators:
            if coordinator.caught_up:
                assert view(coordinator.ledger, self.planned) == told

    def end_all(self) -> None:
        """Let the world go on without accidents until every run has ended."""
        for pick in range(len(self.coordinators)):
            self.crash(pick)
        self.coordinators = [self._new_coordinator()]
        for _ in range(LONGEST_CALM_S):
            self._calm_round()
            if not self._open() and not self.working and not self._owing():
                break
        assert not self._open()
        assert all(count == 1 for count in self.effects.values())
        self.counts.ended = len(self.log.ends)
        self.counts.rereads += self.coordinators[0].rereads
        self.check_recovery()

    def _open(self) -> set[str]:
        return {run_id for run_id in self.planned if not self.log.stories[run_id].ended}

    def _owing(self) -> bool:
        coordinator = self.coordinators[0]
        return bool(coordinator.wire or coordinator.ledger.runs or coordinator.ledger.repeated)

    def _calm_round(self) -> None:
        coordinator = self.coordinators[0]
        while not coordinator.caught_up:
            coordinator.read()
        for run_id, run in sorted(coordinator.ledger.runs.items()):
            if run.paused or any(step.phase is Phase.ASKING for step in run.order):
                for pick in EVERY_WORD:
                    self.word(run_id, pick)
        coordinator.fire(self.now_ms)
        coordinator.answer()
        while coordinator.wire:
            self.land(0)
        while self.questions:
            self.plan_anew(self.rng.randrange(1_000))
        while self._next_work < len(self.steps):
            self.take_work()
        while self.working:
            self.finish_work(self.rng.randrange(1_000))
        self.late_result(0)
        self.wait(1_000)
        self.commit(0)
