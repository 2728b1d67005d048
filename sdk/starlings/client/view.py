"""What a reader of the log sees of a run: the core's own fold, with who did what and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlings.choreography import Chain, Ignored, Run, begin, fold
from starlings.kafka.codec import Received
from starlings.messages import (
    EventHandled,
    Message,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunSnapshot,
    StepDone,
    StepProgress,
    StepScheduled,
    StepStarted,
)

UNPLANNED = "unplanned"
CHOREOGRAPHY = "choreography"  # events that nobody planned: there is no end to wait for


@dataclass(slots=True)
class StepTrace:
    """What the facts tell of a step beside its state."""

    instance: str = ""
    duration_s: float | None = None
    progress: object = None
    since_ms: int | None = None  # when its latest attempt was released, or began


@dataclass(slots=True)
class RunSummary:
    """One line about a run."""

    run_id: str
    status: str
    request: str
    steps: int
    began_ms: int
    ended_ms: int | None = None
    text: str = ""
    tags: dict[str, str] = field(default_factory=dict)


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

    def add(self, received: Received) -> bool:
        """Take a fact in; say whether it changed what is seen."""
        self.facts += 1
        self.first = self.first or received
        self.last = received
        fact = received.message
        self._trace(fact, received.timestamp_ms)
        if isinstance(fact, EventHandled):
            return self.chain.add(fact)
        if isinstance(fact, RunSnapshot):
            return False
        if isinstance(fact, RunDone):
            changed = self.done is None
            self.done = self.done or fact  # the first one counts, a repeat says the same
            return changed
        if self.run is not None:
            return not isinstance(fold(self.run, fact, at_ms=received.timestamp_ms), Ignored)
        if isinstance(fact, PlanCreated | PlanRejected):
            self._begin(fact, received)
            return True
        return False

    def _begin(self, fact: PlanCreated | PlanRejected, received: Received) -> None:
        if isinstance(fact, PlanCreated):
            self.plan = fact
        else:
            self.rejected = fact
        self.run, _ = begin(fact, offset=received.origin.offset, at_ms=received.timestamp_ms)

    def _trace(self, fact: Message, at_ms: int) -> None:
        if isinstance(fact, StepScheduled | StepStarted | StepDone | StepProgress):
            trace = self.traces.setdefault(fact.step_id, StepTrace())
            if isinstance(fact, StepProgress):
                trace.progress = fact.progress
            elif not isinstance(fact, StepScheduled):
                trace.instance = fact.instance
            if isinstance(fact, StepScheduled | StepStarted):
                trace.since_ms = at_ms
            if isinstance(fact, StepDone):
                trace.duration_s = fact.duration_s

    @property
    def status(self) -> str:
        """Say in a word how the run stands."""
        if self.done is not None:
            return self.done.outcome.value
        if self.run is not None:
            return self.run.phase.value
        return UNPLANNED if not self.chain.events else CHOREOGRAPHY

    def summary(self) -> RunSummary:
        """Put the run into one line."""
        run, done = self.run, self.done
        return RunSummary(
            run_id=self.run_id,
            status=self.status,
            request=run.request if run else "",
            steps=len(run.order) if run else len(done.steps) if done else 0,
            began_ms=run.began_ms if run else self.first.timestamp_ms if self.first else 0,
            ended_ms=self.last.timestamp_ms if done and self.last else None,
            text=done.text if done else "",
            tags=run.tags if run else {},
        )
