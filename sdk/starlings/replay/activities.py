"""What a run spent its time on: each attempt of a step, each try to undo one, each wait for a word.

Pure: facts in, activities out. When work was made ready is the time of the fact at which the core
decided on it, when it ended that of the fact that says so, both by the log's clock. Short steps
write no `step_started`, so when an agent began is reckoned back from the end by its `duration_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from starlings.choreography import Decision, DecisionKind, Phase
from starlings.client import RunView
from starlings.kafka.codec import Received
from starlings.messages import (
    CompensationDone,
    Message,
    PlanCreated,
    RunDone,
    RunForked,
    RunRequested,
    StepDone,
    StepStarted,
    TimerFired,
    TimerKind,
)

TIMED_OUT = (TimerKind.QUEUE, TimerKind.RUN, TimerKind.HEARTBEAT)


class Doing(StrEnum):
    """What an activity is."""

    STEP = "step"
    UNDO = "undo"
    ASK = "ask"


@dataclass(slots=True, eq=False)
class Activity:
    """Something that a step was waiting for; `after` is what made it ready by its end."""

    doing: Doing
    step_id: str
    attempt: int
    ready_ms: int
    after: Activity | None = None
    number: int = 0  # of the try, where an attempt is undone
    agent: str = ""
    begun_ms: int | None = None
    ended_ms: int | None = None
    outcome: str = ""

    def end(self, at_ms: int, outcome: str, duration_s: float = 0.0) -> None:
        """Take the first end that is told of."""
        if self.ended_ms is not None:
            return
        self.ended_ms, self.outcome = max(at_ms, self.ready_ms), outcome
        if duration_s > 0:
            began = self.ended_ms - round(min(duration_s, 1e9) * 1000)
            self.begun_ms = max(began, self.ready_ms)


class Activities:
    """The activities of one run, from its facts in their order."""

    def __init__(self, run_id: str) -> None:
        self.view = RunView(run_id)
        self.all: list[Activity] = []
        self.requested_ms: int | None = None
        self.planned_ms: int | None = None
        self.last_ms: int | None = None
        self.done: RunDone | None = None
        self.last: Activity | None = None  # by whose end it was decided that the run is over
        self._now_ms = 0
        self._steps: dict[tuple[str, int], Activity] = {}
        self._undos: dict[tuple[str, int], Activity] = {}  # the latest try
        self._asks: dict[str, Activity] = {}
        self._latest: dict[str, Activity] = {}
        self._led: dict[str, Activity] = {}  # ids of messages that were decided on at its end

    def add(self, received: Received) -> None:
        """Take a fact in; the request that it all began with may be among them."""
        fact = received.message
        if isinstance(fact, RunRequested):
            self.requested_ms = self.requested_ms or received.timestamp_ms
            return
        # where writers tell the time, it may go back
        at_ms = self._now_ms = max(received.timestamp_ms, self._now_ms)
        self.view.add(received)
        if self.done is None or self.view.done is None:  # what follows an end is of no run
            self.last_ms = at_ms
        if isinstance(fact, PlanCreated | RunForked) and self.planned_ms is None:
            self.planned_ms = at_ms
        self.done = self.view.done
        counted = self.view.refused is None
        ended = (self._ended_by(fact, at_ms) if counted else None) or self._answered(at_ms)
        ended = ended or self._led.get(received.envelope.id)
        ended = ended or self._led.get(received.envelope.causation_id or "")
        for decision in self.view.decided:
            self._decide(decision, at_ms, ended)
        self._waiting(at_ms, ended)

    # -- ends ----------------------------------------------------------------------------------

    def _ended_by(self, fact: Message, at_ms: int) -> Activity | None:
        """Find what a fact ends, or has ended before."""
        if isinstance(fact, TimerFired):
            return self._ended_by_timer(fact, at_ms)
        if isinstance(fact, CompensationDone):
            found = self._undos.get((fact.step_id, fact.attempt))
        elif isinstance(fact, StepDone | StepStarted):
            found = self._steps.get((fact.step_id, fact.attempt))
        else:
            return None
        if found is None:
            return None
        if isinstance(fact, StepStarted):
            found.begun_ms = found.begun_ms or max(at_ms, found.ready_ms)
            return None
        found.end(at_ms, fact.outcome.value, fact.duration_s)
        return found

    def _ended_by_timer(self, fact: TimerFired, at_ms: int) -> Activity | None:
        place = fact.step_id or "", fact.attempt or 0
        if fact.kind in (TimerKind.UNDO_RUN, TimerKind.UNDO_RETRY):
            found = self._undos.get(place)
        elif fact.kind is TimerKind.WAIT:
            found = self._asks.pop(place[0], None)
        else:
            found = self._steps.get(place)
        if found is not None and fact.kind not in (TimerKind.RETRY, TimerKind.UNDO_RETRY):
            found.end(at_ms, f"{fact.kind.value} timeout")
        return found

    def _answered(self, at_ms: int) -> Activity | None:
        """Find a wait for a word that is over, and those that have begun."""
        run, over = self.view.run, None
        if run is None:
            return None
        for step_id, waiting in list(self._asks.items()):
            if run.steps[step_id].phase is not Phase.ASKING:
                waiting.end(at_ms, run.steps[step_id].phase.value)
                over = self._asks.pop(step_id)
        return over

    # -- beginnings ----------------------------------------------------------------------------

    def _decide(self, decision: Decision, at_ms: int, ended: Activity | None) -> None:
        if ended is not None:
            self._led[decision.id] = ended
        if decision.kind is DecisionKind.END:
            self.last = ended
        doing = _BEGINS.get(decision.kind)
        if doing is not None and decision.step_id is not None:
            made = self._begin(doing, decision.step_id, decision.attempt, at_ms, ended)
            made.number = decision.number

    def _waiting(self, at_ms: int, ended: Activity | None) -> None:
        """Find steps that wait for a signal, which nobody is told of."""
        run = self.view.run
        for index in {i for waiting in run.asking.values() for i in waiting} if run else ():
            step = run.order[index] if run else None
            if step is not None and step.spec.id not in self._asks:
                self._begin(Doing.ASK, step.spec.id, step.attempt, at_ms, ended)

    def _begin(
        self, doing: Doing, step_id: str, attempt: int, at_ms: int, ended: Activity | None
    ) -> Activity:
        made = Activity(doing, step_id, attempt, at_ms, ended or self._last_dependency(step_id))
        if self.view.run is not None:
            made.agent = self.view.run.steps[step_id].spec.agent
        if doing is Doing.ASK:
            self._asks[step_id] = made
        else:
            of = self._steps if doing is Doing.STEP else self._undos
            of[step_id, attempt] = made
        self._latest[step_id] = made
        self.all.append(made)
        return made

    def _last_dependency(self, step_id: str) -> Activity | None:
        """Say what was waited for where no end of anything made a step ready: it was held."""
        step = self.view.run.steps.get(step_id) if self.view.run else None
        before = [self._latest.get(name) for name in step.spec.depends_on] if step else []
        ended = [each for each in before if each is not None and each.ended_ms is not None]
        return max(ended, key=lambda each: each.ended_ms or 0, default=None)


_BEGINS = {
    DecisionKind.RELEASE: Doing.STEP,
    DecisionKind.UNDO: Doing.UNDO,
    DecisionKind.ASK: Doing.ASK,
}
