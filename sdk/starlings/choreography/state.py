"""The state of one run: what a fold of its facts leaves behind.

Everything here is plain data. `Run.owed` and `Run.timers` are kept up to date with every fact, so
that asking what is owed costs nothing, however long the plan.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from starlings.messages.amendments import Amendment
from starlings.messages.base import NANO
from starlings.messages.errors import ErrorInfo, Problem
from starlings.messages.facts import RunOutcome, TimerKind
from starlings.messages.plan import (
    Compensation,
    FailurePolicy,
    Plan,
    RetryPolicy,
    RunOptions,
    Step,
    Timeouts,
)
from starlings.messages.usage import MOST_USD, Usage

from .transitions import (
    OUT,
    RUN_MOVES,
    SETTLED,
    STEP_MOVES,
    UNDO_MOVES,
    UNDOING,
    Phase,
    RunEvent,
    RunPhase,
    StepEvent,
    UndoEvent,
    UndoPhase,
    is_begun,
    move,
)

COST = "cost_nano_usd"
UNPRICED = "unpriced_calls"
LARGEST_COUNT = 10**15  # that one fact may add


class DecisionKind(StrEnum):
    """What the coordinator can decide; the values name the message that carries it out."""

    RELEASE = "step_ready"
    SKIP = "step_skipped"
    STOP = "stop_requested"
    ASK = "approval_requested"
    PLAN_ANEW = "replan_ready"
    AMEND = "plan_amended"
    REJECT = "amendment_rejected"
    UNDO = "compensation_ready"
    BURY = "dead_letter"
    END = "run_done"


class Decision(NamedTuple):
    """Something that must exist on Kafka, under an id that is always the same."""

    id: str
    kind: DecisionKind
    step_id: str | None = None
    attempt: int = 0
    because: str = ""
    number: int = 0  # of the try, where an attempt is undone; which time it is planned anew


class TimerKey(NamedTuple):
    """Which timer: a run has at most one per kind, step and attempt."""

    kind: TimerKind
    step_id: str | None = None
    attempt: int = 0


class Timer(NamedTuple):
    """A point in the log's time at which `timer_fired` is owed."""

    key: TimerKey
    due_ms: int


class Change(NamedTuple):
    """A fact that counted, with what it newly requires."""

    decisions: tuple[Decision, ...] = ()
    timers: tuple[Timer, ...] = ()


NOTHING_MORE = Change()


class Ignored(NamedTuple):
    """A fact that changes nothing, and why: repeats and late comers are normal."""

    reason: str


Outcome: TypeAlias = Change | Ignored


class ReplanPhase(StrEnum):
    """How far it has come that a run is planned anew."""

    WANTED = "wanted"  # others come first
    ASKED = "asked"  # the planner is
    JUDGED = "judged"  # its answer makes sense; whether the agents are known is being looked up
    REWINDING = "rewinding"  # what the amendment invalidates is stopped and undone


@dataclass(slots=True)
class Replan:
    """Why a run is planned anew, and how."""

    number: int
    text: str
    step_id: str | None = None  # that failed, or whose result asked for it
    attempt: int = 0
    failed: bool = False  # so that the run cannot go on without another plan
    phase: ReplanPhase = ReplanPhase.WANTED
    amendment: Amendment | None = None


@dataclass(slots=True)
class StepState:
    """Where one step stands."""

    spec: Step
    index: int
    dependents: list[int]
    missing: int  # dependencies that have not settled yet
    phase: Phase = Phase.WAITING
    attempt: int = 0  # the latest one that was released
    output: Any = None
    summary: str | None = None
    error: ErrorInfo | None = None
    because: str | None = None  # the failed step on whose account this one is skipped
    variant: str | None = None  # of the agent, that the latest attempt went to
    level: int = 0  # of escalation
    reopened_at: int = 0  # attempts made before the run was last reopened
    compensation: Compensation | None = None  # recorded with the result, or in the plan
    lost: bool = False  # given up without a word of its agent: nobody knows what it has done
    unheard: list[int] = field(default_factory=list)  # earlier attempts that were lost like this
    undos: list[int] = field(default_factory=list)  # attempts that are (to be) undone
    blockers: int = 0  # while compensating: dependents that are not undone yet
    cleared: bool = False  # while compensating: nothing of it is left
    item_of: int | None = None  # index of the step with foreach that this is an item of
    item: int = 0  # which one
    amendment: Amendment | None = None  # that came with its result
    rejected: list[Problem] = field(default_factory=list)  # what was wrong with that
    added: list[int] = field(default_factory=list)  # indices of the steps that it added
    removed: bool = False  # by an amendment
    items: Sequence[int] | None = None  # indices of the items of a step with foreach
    next_item: int = 0  # the first one that has not begun
    begun_items: int = 0  # that have not settled
    open_items: int = 0  # that have not settled, begun or not
    uncleared: int = 0  # while compensating: items of which something is left
    inherited: bool = False  # from the run that this one was forked from
    rewinding: bool = False  # is being undone, to be done again or otherwise
    rewound_by: int = 0  # number of the amendment that did so last
    rewound_at: int = 0  # attempts made before it was last rewound
    formerly: list[tuple[int, Compensation | None]] = field(default_factory=list)
    # what the plan said that undoes it, up to which attempt, before it said otherwise

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to this step."""
        return self.phase in SETTLED

    @property
    def begun(self) -> bool:
        """Whether it has been made ready, and has not settled."""
        return is_begun(self.phase)

    @property
    def passed_over(self) -> bool:
        """Whether it was skipped or removed because it was not to be done: nothing has failed."""
        return self.removed or (self.phase is Phase.SKIPPED and self.because is None)

    def planned_undo(self, attempt: int) -> Compensation | None:
        """Say what undoes an attempt by the plan, as that was when it was made."""
        former = (spec for upto, spec in self.formerly if attempt <= upto)
        return next(former, self.spec.compensate)


@dataclass(slots=True)
class Undo:
    """Where the undoing of one attempt of a step stands."""

    step: int  # its index
    attempt: int
    spec: Compensation
    output: Any = None
    summary: str | None = None
    phase: UndoPhase = UndoPhase.WAITING
    number: int = 0  # the latest try that was released
    reopened_at: int = 0  # tries made before they were last asked for again
    error: ErrorInfo | None = None


@dataclass(slots=True)
class Run:
    """One run, as its facts up to some offset tell it."""

    run_id: str
    options: RunOptions
    plan_offset: int
    began_ms: int
    request: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    forked_from: tuple[str, int] | None = None  # a run, and the last offset of it that counts
    phase: RunPhase = RunPhase.RUNNING
    steps: dict[str, StepState] = field(default_factory=dict)
    order: list[StepState] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)  # heap of indices, so plan order breaks ties
    out: int = 0  # attempts that are with an agent
    unsettled: int = 0
    items: int = 0  # of all steps with foreach
    replans: list[Replan] = field(default_factory=list)  # open ones; nothing begins meanwhile
    replanned: int = 0  # the last number given to one
    replans_by_steps: int = 0  # how many of those max_replans counts
    replans_refused: dict[int, list[Problem]] = field(default_factory=dict)  # and not confirmed
    rewinding: int = 0  # steps of which something is left to be undone
    amending: int = 0  # steps whose amendment is being looked at: nothing begins meanwhile
    owed: dict[str, Decision] = field(default_factory=dict)
    timers: dict[TimerKey, int] = field(default_factory=dict)
    outcome: RunOutcome | None = None
    error: ErrorInfo | None = None
    problems: list[Problem] = field(default_factory=list)
    ended_ms: int = 0
    usage: dict[str, int] = field(default_factory=dict)
    used_before: dict[str, int] = field(default_factory=dict)  # when it was last reopened
    opened_ms: int = 0  # when it began, or was last reopened
    generation: int = 0  # how often it was reopened
    paused: bool = False
    reason: str = ""  # why it turned round
    undos: dict[tuple[str, int], Undo] = field(default_factory=dict)
    undo_ready: list[tuple[int, int]] = field(default_factory=list)  # heap: last step first
    undoing: int = 0  # undos that are ready, released or in back-off
    burials: int = 0  # abandoned undos whose dead letter is owed
    asking: dict[str, list[int]] = field(default_factory=dict)  # steps that wait, by signal
    signals: dict[str, list[Any]] = field(default_factory=dict)  # payloads that nobody took yet

    def lay_out(self, plan: Plan) -> None:
        """Turn a plan into step states with their dependents, in plan order."""
        added = [self.add(step) for step in plan.steps]
        self.connect(added)

    def add(self, spec: Step) -> StepState:
        """Append a step, which nothing leads to yet."""
        missing = len(set(spec.depends_on))
        state = StepState(spec=spec, index=len(self.order), dependents=[], missing=missing)
        self.order.append(state)
        self.steps[spec.id] = state
        self.unsettled += 1
        return state

    def connect(self, states: Iterable[StepState]) -> None:
        """Let steps know which steps depend on them."""
        for state in states:
            for dependency in dict.fromkeys(state.spec.depends_on):
                insort(self.steps[dependency].dependents, state.index)

    def move(self, step: StepState, event: StepEvent) -> None:
        """Move a step by the table, keeping the counters and the ready heap right."""
        before = step.phase
        step.phase = after = move(STEP_MOVES, before, event)
        settles, out, amending = _COUNTED[before, after]
        self.unsettled -= settles
        self.out += out
        self.amending += amending
        if step.item_of is not None:
            whole = self.order[step.item_of]
            whole.open_items -= settles
            whole.begun_items += step.begun - is_begun(before)
        if after is Phase.READY:
            heapq.heappush(self.ready, step.index)

    def withdraw(self, steps: Iterable[StepState]) -> None:
        """Let none of these be among those that are ready: in one go, since they may be many."""
        gone = {step.index for step in steps if step.phase is Phase.READY}
        if gone:
            self.ready = [index for index in self.ready if index not in gone]
            heapq.heapify(self.ready)

    def move_undo(self, undo: Undo, event: UndoEvent) -> None:
        """Move an undoing by the table, keeping the counters and the ready heap right."""
        before, undo.phase = undo.phase, move(UNDO_MOVES, undo.phase, event)
        self.out += (undo.phase is UndoPhase.RELEASED) - (before is UndoPhase.RELEASED)
        self.undoing += (undo.phase in UNDOING) - (before in UNDOING)
        if undo.phase is UndoPhase.READY:
            heapq.heappush(self.undo_ready, (-undo.step, undo.attempt))

    def turn(self, event: RunEvent) -> None:
        """Move the run by the table."""
        self.phase = move(RUN_MOVES, self.phase, event)

    def retry_policy(self, step: StepState) -> RetryPolicy:
        """Say how often a step is tried: its own word, else the run's."""
        return step.spec.retry or self.options.retry

    def timeouts(self, step: StepState) -> Timeouts:
        """Say how long an attempt may take: the step's own word, else the run's."""
        return step.spec.timeouts or self.options.timeouts

    def failure_policy(self, step: StepState) -> FailurePolicy:
        """Say what a failure of this step means: its own word, else the run's."""
        return step.spec.on_failure or self.options.on_failure

    def add_usage(self, usage: Usage | None) -> None:
        """Count what a model's provider will charge for."""
        if usage is None:
            return
        for name in ("calls", "input_tokens", "output_tokens"):
            self.usage[name] = self.usage.get(name, 0) + _sane(getattr(usage, name))
        if usage.unpriced_calls > 0:
            self.usage[UNPRICED] = self.usage.get(UNPRICED, 0) + _sane(usage.unpriced_calls)
        if usage.cost_usd is not None:
            nano = round(usage.cost_usd * NANO)
            self.usage[COST] = self.usage.get(COST, 0) + nano

    def used(self) -> Usage | None:
        """Say what models have been used for so far; None where no step told of any."""
        if not self.usage:
            return None
        counts = {name: count for name, count in self.usage.items() if name != COST}
        nano = self.usage.get(COST)
        most = int(MOST_USD) * NANO
        return Usage(**counts, cost_usd=None if nano is None else min(nano, most) / NANO)


def _counted(before: Phase, after: Phase) -> tuple[int, int, int]:
    return (
        (after in SETTLED) - (before in SETTLED),
        (after in OUT) - (before in OUT),
        (after is Phase.AMENDING) - (before is Phase.AMENDING),
    )


# what a move adds to the steps that have settled, are out, or have an amendment looked at
_COUNTED = {(before, after): _counted(before, after) for before in Phase for after in Phase}


def _sane(count: int) -> int:
    """Anybody may write to the log: no count makes a sum that cannot be written or compared."""
    return min(max(count, 0), LARGEST_COUNT)


def obligations(run: Run) -> tuple[Iterator[Decision], Iterator[Timer]]:
    """Say what must exist on Kafka and is not confirmed by the log, and which timers run."""
    return iter(run.owed.values()), (Timer(key, due) for key, due in run.timers.items())
