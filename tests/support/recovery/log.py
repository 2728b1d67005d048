"""The log of one partition, and what must hold of everything that is written to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from starlings.messages import (
    AmendmentRejected,
    ApprovalGiven,
    CompensationDone,
    CompensationReady,
    FailurePolicy,
    Message,
    Plan,
    PlanAmended,
    PlanCreated,
    PlanRejected,
    RetryRequested,
    RunDone,
    RunForked,
    RunOptions,
    RunOutcome,
    RunSnapshot,
    SignalReceived,
    Step,
    StepDone,
    StepOutcome,
    StepReady,
    StepSkipped,
    TimerFired,
    TimerKind,
)

from .replans import Replans

_ATTEMPT_TIMERS = {TimerKind.QUEUE, TimerKind.RUN, TimerKind.HEARTBEAT}


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    at_ms: int
    id: str
    message: Any

    @property
    def run_id(self) -> str:
        return self.message.run_id


@dataclass
class Story:
    """What the log says of one run, told without the core: a second opinion."""

    plan: Plan | None
    options: RunOptions
    succeeded: set[str] = field(default_factory=set)
    failed: dict[str, set[int]] = field(default_factory=dict)  # step → attempts that failed
    hopeless: set[str] = field(default_factory=set)  # failed with an error not to be retried
    out: set[tuple[str, int]] = field(default_factory=set)
    released: set[tuple[str, int]] = field(default_factory=set)
    reported: set[tuple[str, int]] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)  # because of a condition
    words: set[str] = field(default_factory=set)  # steps and signals that somebody answered
    done: dict[str, int] = field(default_factory=dict)  # step → attempt whose result counts
    compensable: dict[str, int] = field(default_factory=dict)  # of these, what can be undone
    undone: set[tuple[str, int]] = field(default_factory=set)
    abandoned: bool = False
    generation: int = 0
    ended: bool = False
    given_up: bool = False  # the run's grace has passed
    rewound: dict[str, int] = field(default_factory=dict)  # step → its last attempt of before
    inherited: set[str] = field(default_factory=set)  # and not done again since
    added_by: dict[str, str] = field(default_factory=dict)  # step → whose result added it
    joined: dict[str, set[str]] = field(default_factory=dict)  # added step → who waits for it
    replans: Replans = field(default_factory=Replans)

    def tell(self, fact: Message) -> None:
        if isinstance(fact, CompensationDone):
            if fact.outcome is StepOutcome.OK:
                self.undone.add((fact.step_id, fact.attempt))
        elif isinstance(fact, StepSkipped):
            self._skip(fact)
        elif isinstance(fact, PlanAmended) and fact.replan is not None:
            self.replans.begin(self, fact, fact.replan)
        elif isinstance(fact, PlanAmended):
            self._amend(fact)
        elif isinstance(fact, AmendmentRejected):
            self._refuse(fact)
        elif isinstance(fact, ApprovalGiven):
            self.words.add(fact.step_id)
        elif isinstance(fact, SignalReceived):
            self.words.add(fact.name)
        elif isinstance(fact, RetryRequested):
            self._reopen(fact)
        else:
            self._tell(fact)

    def _amend(self, fact: PlanAmended) -> None:
        assert self.plan is not None
        known = {step.id for step in self.plan.steps}
        added = [step for step in fact.amendment.add if step.id not in known]
        self.added_by |= {step.id: fact.step_id or "" for step in added}
        if fact.amendment.join:
            inner = {name for step in added for name in step.depends_on}
            behind = {step.id for step in self.plan.steps if fact.step_id in step.depends_on}
            self.joined |= {step.id: set(behind) for step in added if step.id not in inner}
        self.plan = Plan.model_construct(steps=[*self.plan.steps, *added])

    def _refuse(self, fact: AmendmentRejected) -> None:
        """Let nobody wait for what is not added after all."""
        if fact.replan is not None:
            self.replans.refuse(self, fact.replan)
            return
        kept = {name for name in self.joined if self.added_by[name] != fact.step_id}
        self.joined = {name: self.joined[name] for name in kept}

    def _skip(self, fact: StepSkipped) -> None:
        if fact.because is None:
            for name in self._spec(fact.step_id).depends_on:
                assert self._settled(name), f"{fact.step_id} skipped before {name} has settled"
            self.skipped.add(fact.step_id)

    def _reopen(self, fact: RetryRequested) -> None:
        if not self.ended or fact.generation != self.generation + 1:
            return  # a repeat
        self.generation, self.ended = fact.generation, False
        if not fact.compensation:
            self.given_up = False
            self.inherited -= self.skipped  # conditions are judged again
            for known in (self.failed, self.hopeless, self.out):
                known.clear()

    def end(self, fact: RunDone) -> None:
        """Check an end against what was undone."""
        if fact.generation != self.generation or self.ended:
            return
        self.ended = True
        self.replans.check(self)
        left = {step for step, a in self.compensable.items() if (step, a) not in self.undone}
        if fact.outcome is RunOutcome.COMPENSATED:
            assert not left, f"ended compensated, but {left} are not undone"
            assert self.undone
        if fact.outcome is RunOutcome.COMPLETED:
            counted = set(self.done.items())
            assert not counted & self.undone, "what a completed run did has been undone"

    def undo(self, ready: CompensationReady) -> None:
        """Check that a step is undone after all that depends on it, directly or not."""
        place = (ready.step_id, ready.attempt)
        assert ready.step_id not in self.inherited, f"{place} belongs to another run"
        if self.compensable.get(ready.step_id) != ready.attempt:
            return  # a late result, or an attempt of which nobody has heard: as soon as can be
        for name in self.dependents(ready.step_id):
            attempt = self.compensable.get(name)
            undone = attempt is None or (name, attempt) in self.undone
            assert undone, f"{place} is undone before {name}, which depends on it"

    def dependents(self, step_id: str) -> set[str]:
        assert self.plan is not None
        found: set[str] = set()
        todo = [self._spec(step_id).id]
        while todo:
            name = todo.pop()
            for step in self.plan.steps:
                waits = name in step.depends_on or step.id in self.joined.get(name, ())
                if waits and step.id not in found:
                    found.add(step.id)
                    todo.append(step.id)
        return {item for name in found for item in (name, *self.items(name))}

    def items(self, step_id: str) -> list[str]:
        foreach = self._spec(step_id).foreach
        count = len(foreach.items) if foreach and isinstance(foreach.items, list) else 0
        return [f"{step_id}[{number}]" for number in range(count)]

    def _tell(self, fact: Message) -> None:
        if isinstance(fact, StepDone):
            place = (fact.step_id, fact.attempt)
            if place in self.reported or (fact.step_id, fact.attempt + 1) in self.released:
                return  # a repeat, or later than the attempt's timeout
            self.reported.add(place)
            self.out.discard(place)
            if fact.outcome is StepOutcome.OK:
                self.succeeded.add(fact.step_id)
                self._count(fact)
                return
            self.failed.setdefault(fact.step_id, set()).add(fact.attempt)
            if fact.error is not None and not fact.error.retryable:
                self.hopeless.add(fact.step_id)
        elif isinstance(fact, TimerFired) and fact.kind is TimerKind.WAIT:
            self.words.add(fact.step_id or "")
        elif isinstance(fact, TimerFired) and fact.kind is TimerKind.SETTLE:
            self.given_up = True
        elif isinstance(fact, TimerFired) and fact.kind in _ATTEMPT_TIMERS:
            self.out.discard((fact.step_id or "", fact.attempt or 0))
            self.failed.setdefault(fact.step_id or "", set()).add(fact.attempt or 0)

    def _count(self, fact: StepDone) -> None:
        late = self.given_up or fact.attempt in self.failed.get(fact.step_id, ())
        late = late or fact.attempt <= self.rewound.get(fact.step_id, 0)
        if late or fact.step_id in self.done:
            return
        self.done[fact.step_id] = fact.attempt
        if fact.compensation or self._spec(fact.step_id).compensate:
            self.compensable[fact.step_id] = fact.attempt

    def release(self, ready: StepReady) -> None:
        """Check a release against all that the log says so far."""
        place = (ready.step_id, ready.attempt)
        if place in self.released:
            return
        self.replans.apply(self)
        assert ready.step_id not in self.inherited, f"{place} was inherited, and is done again"
        for name in self._spec(ready.step_id).depends_on:
            if not self._settled(name):
                why = f"{place} released before {name} has settled in the log"
                self.replans.doubt(name, why)
        self.released.add(place)
        self.out.add(place)
        limit = self.options.max_parallel
        assert limit is None or len(self.out) <= limit, f"too many at once: {self.out}"

    def _spec(self, step_id: str) -> Step:
        assert self.plan is not None
        whole = step_id.partition("[")[0]
        return next(step for step in self.plan.steps if step.id == whole)

    def _settled(self, step_id: str) -> bool:
        if step_id in self.succeeded:
            return True
        spec = self._spec(step_id)
        if step_id in self.skipped or self._is_unjudged(spec):
            return True
        if spec.foreach and "[" not in step_id:
            begun = all(self._settled(name) for name in spec.depends_on)
            return begun and all(map(self._settled, self.items(step_id)))
        if spec.approval or spec.signal:
            return bool({step_id, spec.signal.name if spec.signal else ""} & self.words)
        policy = spec.on_failure or self.options.on_failure
        attempts = (spec.retry or self.options.retry).attempts
        tried = len(self.failed.get(step_id, ()))
        if policy is FailurePolicy.REPLAN and "[" in step_id:
            policy = FailurePolicy.CONTINUE
        return policy is FailurePolicy.CONTINUE and (step_id in self.hopeless or tried >= attempts)

    def may_have_settled(self, step_id: str) -> bool:
        """Whether a step may have settled without a word in the log."""
        return self._settled(step_id) or self._spec(step_id).when is not None

    def _is_unjudged(self, spec: Step) -> bool:
        """Whether its condition may have failed it, of which there is no fact."""
        policy = spec.on_failure or self.options.on_failure
        begun = any(name == spec.id for name, _ in self.released)
        if spec.when is None or policy is not FailurePolicy.CONTINUE or begun:
            return False
        return all(self._settled(name) for name in spec.depends_on)


class Log:
    """Records in order, with ids that always mean the same."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.stories: dict[str, Story] = {}
        self.ends: dict[str, Record] = {}  # the latest `run_done` of each run
        self._contents: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.records)

    def append(self, ident: str, message: Any, at_ms: int, *, decided: bool = True) -> None:
        """Write a message as Kafka would keep it; a decision's id must bring its content."""
        text = message.model_dump_json()
        if decided:
            self.same_content(ident, message, text)
        kept = type(message).model_validate_json(text)
        record = Record(len(self.records), at_ms, ident, kept)
        self.records.append(record)
        self._tell(record)

    def same_content(self, ident: str, message: Any, text: str) -> None:
        """Check that one id never stands for two different contents."""
        if isinstance(message, RunSnapshot):
            text = _in_order(message)
        assert self._contents.setdefault(ident, text) == text, f"{ident} changed its content"

    def _tell(self, record: Record) -> None:
        fact = record.message
        if isinstance(fact, PlanCreated | PlanRejected | RunForked):
            self.stories.setdefault(fact.run_id, _beginning(fact))
        elif isinstance(fact, RunDone):
            first = self.ends.get(fact.run_id)
            if first is not None and first.message.generation == fact.generation:
                assert first.message.outcome is fact.outcome, "two outcomes"
            if first is None or first.message.generation <= fact.generation:
                self.ends[fact.run_id] = record
                self.stories[fact.run_id].end(fact)
        elif fact.run_id in self.stories:
            self.stories[fact.run_id].tell(fact)

    def release(self, ident: str, ready: StepReady | CompensationReady) -> None:
        """Check work that is written to an agent's topic."""
        self.same_content(ident, ready, ready.model_dump_json())
        story = self.stories[ready.run_id]
        if isinstance(ready, StepReady):
            story.release(ready)
        else:
            story.undo(ready)


def _beginning(fact: PlanCreated | PlanRejected | RunForked) -> Story:
    if isinstance(fact, PlanRejected):
        return Story(None, RunOptions())
    story = Story(fact.plan, fact.options)
    for result in fact.inherited if isinstance(fact, RunForked) else ():
        (story.skipped if result.skipped else story.succeeded).add(result.step_id)
        story.inherited.add(result.step_id)
    return story


def _in_order(fact: RunSnapshot) -> str:
    """Write a snapshot such that the order in which things became owed makes no difference."""
    state = dict(fact.state)
    state["owed"] = sorted(state["owed"])
    state["timers"] = sorted(state["timers"], key=str)
    return json.dumps([fact.run_id, fact.as_of, fact.plan_offset, state])
