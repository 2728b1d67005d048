"""What a reader of the log sees of a run: the core's own fold, with who did what and when.

A run that has ended may be reopened, so it has an end for each of its generations: the latest one
is its end, and what a later generation has overtaken is of the past.

Where retention has deleted the plan, a run that was open for long is seen from the snapshot that
its coordinator has written since: complete from `since` on, save for who did what before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from starlings.choreography import (
    Chain,
    Change,
    Decision,
    Ignored,
    Phase,
    Run,
    RunPhase,
    StepState,
    begin,
    fold,
    goes_on,
    is_of_the_past,
    reopen,
    snapshot,
)
from starlings.kafka.codec import Received
from starlings.messages import (
    AmendmentRejected,
    CancelRequested,
    CompensationDone,
    EventHandled,
    InvariantBroken,
    Message,
    PlanAmended,
    PlanCreated,
    PlanRejected,
    RetryRequested,
    RunDone,
    RunForked,
    RunSnapshot,
    StepDone,
    StepProgress,
    StepScheduled,
    StepStarted,
    Usage,
)

from .answering import asked_form

UNPLANNED = "unplanned"
CHOREOGRAPHY = "choreography"  # events that nobody planned: there is no end to wait for
PAUSED = "paused"
REPLANNING = "replanning"  # the planner is asked, or what its answer invalidates is being undone
ASKING = "asking"  # a person's yes or no, or the answer to a form, is waited for
_UNREADABLE = (InvariantBroken, ValueError, KeyError, TypeError, AttributeError, IndexError)


@dataclass(slots=True)
class StepTrace:
    """What the facts tell of a step beside its state."""

    instance: str = ""
    duration_s: float | None = None
    variant: str | None = None  # of the agent, that did or does it
    progress: object = None
    usage: Usage | None = None  # of all attempts, and of undoing them, as far as they count
    prompts: list[str] = field(default_factory=list)  # of the latest attempt that has ended
    since_ms: int | None = None  # when its latest attempt was released, or began


class RunView:
    """A run as far as the facts read so far tell it.

    Where neither the plan nor a snapshot is among the facts that were read, `run` stays None.
    `since` is the first offset of which a snapshot did not tell already; None where the plan was
    read. `chain` holds the events that agents have reacted to under this id, with a plan or
    without one.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.run: Run | None = None
        self.plan: PlanCreated | None = None
        self.rejected: PlanRejected | None = None
        self.forked: RunForked | None = None
        self.done: RunDone | None = None
        self.chain = Chain()
        self.traces: dict[str, StepTrace] = {}
        self.first: Received | None = None
        self.last: Received | None = None
        self.amendments: list[PlanAmended | AmendmentRejected] = []  # what became of each
        self.facts = 0
        self.refused: str | None = None  # why the latest fact changed nothing
        self.decided: tuple[Decision, ...] = ()  # what the latest fact newly required
        self.since: int | None = None
        self._cancel: CancelRequested | None = None
        self._held: list[Received] = []  # until a snapshot tells what was before them
        self._is_sure = False  # nothing that the state lacks can have been deleted

    def add(self, received: Received) -> bool:
        """Take a fact in; say whether it changed what is seen."""
        self.facts += 1
        self.first = self.first or received
        self.last = received
        self._trace(received.message, received.timestamp_ms)
        outcome = self._fold(received)
        self.refused = outcome.reason if isinstance(outcome, Ignored) else None
        self.decided = outcome.decisions if isinstance(outcome, Change) else ()
        if self.refused is None:
            self._count(received.message)
        if isinstance(received.message, PlanAmended | AmendmentRejected) and not self.refused:
            self.amendments.append(received.message)
        return self.refused is None

    def _fold(self, received: Received) -> Change | Ignored:
        fact, at_ms = received.message, received.timestamp_ms
        if isinstance(fact, EventHandled):
            return Change() if self.chain.add(fact) else Ignored("it is known")
        if isinstance(fact, RunSnapshot):
            return self._take(fact)
        if not self._is_sure:
            self._held.append(received)
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
        elif isinstance(fact, RunForked):
            self.forked = fact
        else:
            return Ignored("the run is not planned yet")
        self._be_sure()
        offset, at_ms = received.origin.offset, received.timestamp_ms
        self.run, change = begin(fact, offset=offset, at_ms=at_ms, cancel=self._cancel)
        return change

    def _take(self, fact: RunSnapshot) -> Change | Ignored:
        """See the run from a snapshot; from a later one, where facts after this one may be gone."""
        first = self.first.origin.offset if self.first else 0
        if self._is_sure or self.done is not None or fact.plan_offset >= first:
            return Ignored("a snapshot tells nothing new")
        try:
            run = snapshot.load(self.run_id, fact.plan_offset, fact.state)
        except _UNREADABLE as error:
            return Ignored(f"the snapshot cannot be read: {error!r}")
        for held in self._held:
            if held.origin.offset <= fact.as_of:
                continue
            if isinstance(fold(run, held.message, at_ms=held.timestamp_ms), Change):
                self._count(held.message)
        self.run, self.since = run, fact.as_of + 1
        if first <= self.since:
            self._be_sure()
        return Change()

    def _be_sure(self) -> None:
        self._is_sure = True
        self._held.clear()

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
        self._be_sure()  # the word brings all of the run along
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

    def _count(self, fact: Message) -> None:
        """Count what a fact that counts tells of models."""
        if not isinstance(fact, StepDone | CompensationDone):
            return
        trace = self.traces.setdefault(fact.step_id, StepTrace())
        if fact.usage is not None:
            trace.usage = (trace.usage or Usage()).plus(fact.usage)
        if isinstance(fact, StepDone):
            trace.prompts = list(fact.prompts or ())

    @property
    def status(self) -> str:
        """Say in a word how the run stands."""
        if self.done is not None:
            return self.done.outcome.value
        if self.run is None:
            return UNPLANNED if not self.chain.events else CHOREOGRAPHY
        if self.run.paused and self.run.phase is RunPhase.RUNNING:
            return PAUSED
        if any(self._asks(step) for step in self.run.order):
            return ASKING
        return REPLANNING if self.run.replans else self.run.phase.value

    def _asks(self, step: StepState) -> bool:
        if step.phase is Phase.RUNNING:
            trace = self.traces.get(step.spec.id)
            return trace is not None and bool(asked_form(step.spec.agent, trace.progress))
        return step.phase is Phase.ASKING and step.spec.approval is not None
