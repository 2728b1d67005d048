"""What a reader of the log sees of a run: the core's own fold, with who did what and when.

A run that has ended may be reopened, so it has an end for each of its generations: the latest one
is its end, and what a later generation has overtaken is of the past.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlings.choreography import (
    Chain,
    Change,
    Ignored,
    Phase,
    Run,
    RunPhase,
    begin,
    fold,
    goes_on,
    is_of_the_past,
    reopen,
)
from starlings.kafka.codec import Received
from starlings.messages import (
    CancelRequested,
    EventHandled,
    Message,
    PlanCreated,
    PlanRejected,
    RetryRequested,
    RunDone,
    RunSnapshot,
    StepDone,
    StepProgress,
    StepScheduled,
    StepStarted,
)

UNPLANNED = "unplanned"
CHOREOGRAPHY = "choreography"  # events that nobody planned: there is no end to wait for
PAUSED = "paused"
ASKING = "asking"  # a person's yes or no is waited for


@dataclass(slots=True)
class StepTrace:
    """What the facts tell of a step beside its state."""

    instance: str = ""
    duration_s: float | None = None
    variant: str | None = None  # of the agent, that did or does it
    progress: object = None
    since_ms: int | None = None  # when its latest attempt was released, or began


class RunView:
    """A run as far as the facts read so far tell it.

    Where the plan is not among the facts that were read, `run` stays None. `chain` holds the
    events that agents have reacted to under this id, with a plan or without one.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.run: Run | None = None
        self.plan: PlanCreated | None = None
        self.rejected: PlanRejected | None = None
        self.done: RunDone | None = None
        self.chain = Chain()
        self.traces: dict[str, StepTrace] = {}
        self.first: Received | None = None
        self.last: Received | None = None
        self.facts = 0
        self.refused: str | None = None  # why the latest fact changed nothing
        self._cancel: CancelRequested | None = None

    def add(self, received: Received) -> bool:
        """Take a fact in; say whether it changed what is seen."""
        self.facts += 1
        self.first = self.first or received
        self.last = received
        self._trace(received.message, received.timestamp_ms)
        outcome = self._fold(received)
        self.refused = outcome.reason if isinstance(outcome, Ignored) else None
        return self.refused is None

    def _fold(self, received: Received) -> Change | Ignored:
        fact, at_ms = received.message, received.timestamp_ms
        if isinstance(fact, EventHandled):
            return Change() if self.chain.add(fact) else Ignored("it is known")
        if isinstance(fact, RunSnapshot):
            return Ignored("a snapshot tells nothing new")
        if isinstance(fact, RetryRequested):
            return self._reopen(fact, at_ms)
        if isinstance(fact, RunDone):
            return self._end(fact, at_ms)
        if self.run is not None:
            return fold(self.run, fact, at_ms=at_ms)
        return self._begin(fact, received)

    def _begin(self, fact: Message, received: Received) -> Change | Ignored:
        if isinstance(fact, CancelRequested):
            self._cancel = fact  # it may come before the plan
        if isinstance(fact, PlanCreated):
            self.plan = fact
        elif isinstance(fact, PlanRejected):
            self.rejected = fact
        else:
            return Ignored("the run is not planned yet")
        offset, at_ms = received.origin.offset, received.timestamp_ms
        self.run, change = begin(fact, offset=offset, at_ms=at_ms, cancel=self._cancel)
        return change

    def _end(self, fact: RunDone, at_ms: int) -> Change | Ignored:
        if self.run is not None and is_of_the_past(self.run, fact):
            return Ignored("the run has been reopened since")
        if self.done is not None:
            return Ignored("the run has ended")  # the first one counts, a repeat says the same
        self.done = fact
        return fold(self.run, fact, at_ms=at_ms) if self.run is not None else Change()

    def _reopen(self, fact: RetryRequested, at_ms: int) -> Change | Ignored:
        ended = self.done is not None or self.run is None
        if not ended or not goes_on(self.run, fact):
            phase = self.run.phase.value if self.run else ""
            return Ignored(f"the run has not ended, or was reopened before: it is {phase}")
        reopened = reopen(fact, at_ms=at_ms)
        if isinstance(reopened, Ignored):
            return reopened
        self.run, change = reopened
        self.done = None
        return change

    def _trace(self, fact: Message, at_ms: int) -> None:
        if isinstance(fact, StepScheduled | StepStarted | StepDone | StepProgress):
            trace = self.traces.setdefault(fact.step_id, StepTrace())
            if isinstance(fact, StepProgress):
                trace.progress = fact.progress
            else:
                trace.variant = fact.variant
            if isinstance(fact, StepStarted | StepDone):
                trace.instance = fact.instance
            if isinstance(fact, StepScheduled):
                trace.progress = None  # that was of an earlier attempt
            if isinstance(fact, StepScheduled | StepStarted):
                trace.since_ms = at_ms
            if isinstance(fact, StepDone):
                trace.duration_s = fact.duration_s

    @property
    def status(self) -> str:
        """Say in a word how the run stands."""
        if self.done is not None:
            return self.done.outcome.value
        if self.run is None:
            return UNPLANNED if not self.chain.events else CHOREOGRAPHY
        if self.run.paused and self.run.phase is RunPhase.RUNNING:
            return PAUSED
        asks = any(s.phase is Phase.ASKING and s.spec.approval for s in self.run.order)
        return ASKING if asks else self.run.phase.value
