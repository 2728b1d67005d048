"""Lines about runs, made from the few facts that a list of them needs.

Most facts of a run are about its steps; a list passes them over by their headers, unread. So it
knows less than a view: of a run that undoes, only from its first compensation on that it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from starlings.choreography import Ignored, RunPhase, reopen
from starlings.kafka.codec import Received
from starlings.messages import (
    ApprovalGiven,
    ApprovalRequested,
    CancelRequested,
    CompensationScheduled,
    Message,
    PauseRequested,
    PlanCreated,
    PlanRejected,
    ResumeRequested,
    RetryRequested,
    RunDone,
    RunOutcome,
    TimerFired,
    TimerKind,
    header,
)

from .view import ASKING, PAUSED, UNPLANNED

OPEN = frozenset(
    {
        UNPLANNED,
        PAUSED,
        ASKING,
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
        RunDone,
        CancelRequested,
        PauseRequested,
        ResumeRequested,
        RetryRequested,
        ApprovalRequested,
        ApprovalGiven,
        CompensationScheduled,
    )
)
_NOBODY_ANSWERED = f"/{TimerFired.NAME}/{TimerKind.WAIT.value}/"


def is_listed(record: ConsumerRecord) -> bool:
    """Tell the few facts that a list of runs needs from the many that it does not."""
    kind = header(record.headers, "ce_type")
    if kind == TimerFired.CE_TYPE:
        return _NOBODY_ANSWERED in (header(record.headers, "ce_id") or "")
    return kind is None or kind in _READ


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

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.ended_ms is None


class Listed:
    """A run as a list knows it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._planned: PlanCreated | PlanRejected | None = None
        self._began_ms = 0
        self._done: RunDone | None = None
        self._ended_ms = 0
        self._generation = 0
        self._paused = False
        self._undoes = False
        self._stops = False
        self._asks: set[str] = set()
        self._brought: dict[str, object] = {}  # by a retry, where the plan was not read

    def add(self, received: Received) -> None:
        """Take a fact in."""
        fact, at_ms = received.message, received.timestamp_ms
        self._began_ms = self._began_ms or at_ms
        if isinstance(fact, RetryRequested):
            self._reopen(fact)
        elif self._done is not None:
            return
        elif isinstance(fact, PlanCreated | PlanRejected):
            if self._planned is None:
                self._planned, self._began_ms = fact, at_ms
        elif isinstance(fact, RunDone):
            self._end(fact, at_ms)
        else:
            self._note(fact)

    def _note(self, fact: Message) -> None:
        if isinstance(fact, ApprovalRequested):
            self._asks.add(fact.step_id)
        elif isinstance(fact, ApprovalGiven | TimerFired):
            self._asks.discard(fact.step_id or "")
        elif isinstance(fact, PauseRequested | ResumeRequested):
            self._paused = isinstance(fact, PauseRequested)
        elif isinstance(fact, CompensationScheduled):
            self._undoes = True
        elif isinstance(fact, CancelRequested):
            self._stops = True

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
        if self._paused:
            return PAUSED
        return ASKING if self._asks else RunPhase.RUNNING.value

    def summary(self) -> RunSummary:
        """Put the run into one line."""
        planned, done = self._planned, self._done
        steps = len(planned.plan.steps) if isinstance(planned, PlanCreated) else 0
        return RunSummary(
            run_id=self.run_id,
            status=self._status,
            request=planned.request if planned else str(self._brought.get("request") or ""),
            steps=steps or (len(done.steps) if done else 0),
            began_ms=self._began_ms,
            ended_ms=self._ended_ms if done else None,
            text=done.text if done else "",
            tags=dict(planned.tags) if planned else {},
        )
