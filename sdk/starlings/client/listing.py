"""Lines about runs, made from the few facts that a list of them needs.

Most facts of a run are about its steps; a list passes them over by their headers, unread. So it
knows less than a view: of a run that undoes, only from its first compensation on that it does, and
of one that is planned anew, that it undoes only while a compensation for that is open. Of
runs whose plans ask people to fill in forms it reads what their steps tell, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from starlings.choreography import Beginning, Ignored, RunPhase, reopen
from starlings.kafka.codec import Received
from starlings.messages import (
    HUMAN,
    AmendmentRejected,
    ApprovalGiven,
    ApprovalRequested,
    CancelRequested,
    CompensationDone,
    CompensationScheduled,
    Message,
    PauseRequested,
    PlanAmended,
    PlanCreated,
    PlanRejected,
    ReplanScheduled,
    ResumeRequested,
    RetryRequested,
    RunDone,
    RunForked,
    RunOutcome,
    StepDone,
    StepOutcome,
    StepProgress,
    TimerFired,
    TimerKind,
    header,
)

from .answering import asked_form
from .view import ASKING, PAUSED, REPLANNING, UNPLANNED

OPEN = frozenset(
    {
        UNPLANNED,
        PAUSED,
        ASKING,
        REPLANNING,
        RunPhase.RUNNING.value,
        RunPhase.STOPPING.value,
        RunPhase.COMPENSATING.value,
    }
)
STATUSES = (*sorted(OPEN), *(outcome.value for outcome in RunOutcome))
_READ = frozenset(
    kind.CE_TYPE
    for kind in (
        PlanCreated,
        PlanRejected,
        RunForked,
        RunDone,
        CancelRequested,
        PauseRequested,
        ResumeRequested,
        RetryRequested,
        ApprovalRequested,
        ApprovalGiven,
        CompensationScheduled,
        CompensationDone,
        ReplanScheduled,
        PlanAmended,
        AmendmentRejected,
    )
)
_OF_FORMS = frozenset(kind.CE_TYPE for kind in (StepProgress, StepDone, TimerFired))
_NOBODY_ANSWERED = f"/{TimerFired.NAME}/{TimerKind.WAIT.value}/"


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
    forked_from: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_ms is None


class Listed:
    """A run as a list knows it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._planned: Beginning | None = None
        self._began_ms = 0
        self._done: RunDone | None = None
        self._ended_ms = 0
        self._generation = 0
        self._paused = False
        self._undoes = False
        self._stops = False
        self._asks: set[str] = set()
        self._replan_asked = self._replan_decided = 0  # numbers: the planner is asked in between
        self._rewinds: set[tuple[str, int]] = set()  # attempts that make way for another plan
        self._undone: set[tuple[str, int]] = set()  # whose release may be told after their end
        self._brought: dict[str, object] = {}  # by a retry, where the plan was not read

    def add(self, received: Received) -> None:
        """Take a fact in."""
        fact, at_ms = received.message, received.timestamp_ms
        self._began_ms = self._began_ms or at_ms
        if isinstance(fact, RetryRequested):
            self._reopen(fact)
        elif self._done is not None:
            return
        elif isinstance(fact, PlanCreated | PlanRejected | RunForked):
            if self._planned is None:
                self._planned, self._began_ms = fact, at_ms
        elif isinstance(fact, RunDone):
            self._end(fact, at_ms)
        else:
            self._note(fact)

    def _note(self, fact: Message) -> None:
        if isinstance(fact, ApprovalRequested):
            self._asks.add(fact.step_id)
        elif isinstance(fact, StepProgress):
            if asked_form(fact.agent, fact.progress):
                self._asks.add(fact.step_id)
        elif isinstance(fact, ApprovalGiven | TimerFired | StepDone):
            self._asks.discard(fact.step_id or "")
        elif isinstance(fact, PauseRequested | ResumeRequested):
            self._paused = isinstance(fact, PauseRequested)
        elif isinstance(fact, CompensationScheduled | CompensationDone):
            self._undo(fact)
        elif isinstance(fact, ReplanScheduled | PlanAmended | AmendmentRejected):
            self._plan_anew(fact)
        elif isinstance(fact, CancelRequested):
            self._stops = True

    def _undo(self, fact: CompensationScheduled | CompensationDone) -> None:
        attempt = (fact.step_id, fact.attempt)
        if isinstance(fact, CompensationDone):
            if fact.outcome is StepOutcome.OK:
                self._undone.add(attempt)
                self._rewinds.discard(attempt)
        elif fact.replan is None:
            self._undoes = True
        elif attempt not in self._undone:
            self._rewinds.add(attempt)

    def _plan_anew(self, fact: ReplanScheduled | PlanAmended | AmendmentRejected) -> None:
        if isinstance(fact, ReplanScheduled):
            self._replan_asked = max(self._replan_asked, fact.number)
        elif fact.replan is not None:  # else it came with a step's result
            self._replan_decided = max(self._replan_decided, fact.replan)

    def _end(self, fact: RunDone, at_ms: int) -> None:
        if fact.generation >= self._generation:
            self._done, self._ended_ms = fact, at_ms

    def _reopen(self, fact: RetryRequested) -> None:
        unread = self._planned is None and self._done is None
        if not unread and (self._done is None or fact.generation != self._generation + 1):
            return
        if isinstance(reopen(fact, at_ms=0), Ignored):  # as the coordinator decides
            return
        self._brought = fact.state
        self._done, self._generation = None, fact.generation
        self._paused, self._stops, self._undoes = False, False, fact.compensation
        self._asks.clear()
        self._replan_decided = self._replan_asked
        self._rewinds.clear()

    @property
    def _status(self) -> str:
        if self._done is not None:
            return self._done.outcome.value
        if self._planned is None and not self._brought:
            return UNPLANNED
        if self._undoes:
            return RunPhase.COMPENSATING.value
        if self._stops:
            return RunPhase.STOPPING.value
        return self._waits_for or RunPhase.RUNNING.value

    @property
    def _waits_for(self) -> str | None:
        if self._paused:
            return PAUSED
        if self._asks:
            return ASKING
        replans = self._replan_asked > self._replan_decided or self._rewinds
        return REPLANNING if replans else None

    def summary(self) -> RunSummary:
        """Put the run into one line."""
        planned, done = self._planned, self._done
        forked = planned if isinstance(planned, RunForked) else None
        steps = len(planned.plan.steps) if isinstance(planned, PlanCreated | RunForked) else 0
        return RunSummary(
            run_id=self.run_id,
            status=self._status,
            request=planned.request if planned else str(self._brought.get("request") or ""),
            steps=steps or (len(done.steps) if done else 0),
            began_ms=self._began_ms,
            ended_ms=self._ended_ms if done else None,
            text=done.text if done else "",
            tags=dict(planned.tags) if planned else {},
            forked_from=forked.from_run if forked else None,
        )


class Listing:
    """All runs of a list. `wants` tells the few facts that it needs; `add` takes those in."""

    def __init__(self) -> None:
        self._runs: dict[str, Listed] = {}
        self._with_forms: set[bytes] = set()  # keys of runs that people may be asked in

    def wants(self, record: ConsumerRecord) -> bool:
        """Say by its headers whether a fact has to be read."""
        kind = header(record.headers, "ce_type")
        if kind in _OF_FORMS and record.key in self._with_forms:
            return True
        if kind == TimerFired.CE_TYPE:
            return _NOBODY_ANSWERED in (header(record.headers, "ce_id") or "")
        return kind is None or kind in _READ

    def add(self, received: Received) -> None:
        """Take a fact in."""
        run_id = received.envelope.subject
        if received.key is not None and _may_ask(received.message):
            self._with_forms.add(received.key)
        self._runs.setdefault(run_id, Listed(run_id)).add(received)

    def summaries(self) -> list[RunSummary]:
        """Give a line about each run, the newest last."""
        lines = (run.summary() for run in self._runs.values())
        return sorted(lines, key=lambda line: line.began_ms)


def _may_ask(fact: Message) -> bool:
    if isinstance(fact, PlanAmended):
        steps = [*fact.amendment.add, *fact.amendment.replace]
    elif isinstance(fact, PlanCreated | RunForked):
        steps = fact.plan.steps
    else:
        return isinstance(fact, RetryRequested)  # which brings its plan along
    return any(step.agent == HUMAN and step.approval is None for step in steps)
