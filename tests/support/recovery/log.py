"""The log of one partition, and what must hold of everything that is written to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from starlings.messages import (
    FailurePolicy,
    Message,
    Plan,
    PlanCreated,
    PlanRejected,
    RunDone,
    RunOptions,
    RunSnapshot,
    Step,
    StepDone,
    StepOutcome,
    StepReady,
    TimerFired,
    TimerKind,
)

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

    def tell(self, fact: Message) -> None:
        if isinstance(fact, StepDone):
            place = (fact.step_id, fact.attempt)
            if place in self.reported or (fact.step_id, fact.attempt + 1) in self.released:
                return  # a repeat, or later than the attempt's timeout
            self.reported.add(place)
            self.out.discard(place)
            if fact.outcome is StepOutcome.OK:
                self.succeeded.add(fact.step_id)
                return
            self.failed.setdefault(fact.step_id, set()).add(fact.attempt)
            if fact.error is not None and not fact.error.retryable:
                self.hopeless.add(fact.step_id)
        elif isinstance(fact, TimerFired) and fact.kind in _ATTEMPT_TIMERS:
            self.out.discard((fact.step_id or "", fact.attempt or 0))
            self.failed.setdefault(fact.step_id or "", set()).add(fact.attempt or 0)

    def release(self, ready: StepReady) -> None:
        """Check a release against all that the log says so far."""
        place = (ready.step_id, ready.attempt)
        if place in self.released:
            return
        spec = self._spec(ready.step_id)
        for name in spec.depends_on:
            assert self._settled(name), f"{place} released before {name} has settled in the log"
        self.released.add(place)
        self.out.add(place)
        limit = self.options.max_parallel
        assert limit is None or len(self.out) <= limit, f"too many at once: {self.out}"

    def _spec(self, step_id: str) -> Step:
        assert self.plan is not None
        return next(step for step in self.plan.steps if step.id == step_id)

    def _settled(self, step_id: str) -> bool:
        if step_id in self.succeeded:
            return True
        spec = self._spec(step_id)
        policy = spec.on_failure or self.options.on_failure
        attempts = (spec.retry or self.options.retry).attempts
        tried = len(self.failed.get(step_id, ()))
        return policy is FailurePolicy.CONTINUE and (step_id in self.hopeless or tried >= attempts)


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
        if isinstance(fact, PlanCreated | PlanRejected):
            plan = fact.plan if isinstance(fact, PlanCreated) else None
            options = fact.options if isinstance(fact, PlanCreated) else RunOptions()
            self.stories.setdefault(fact.run_id, Story(plan, options))
        elif isinstance(fact, RunDone):
            first = self.ends.get(fact.run_id)
            assert first is None or first.message.outcome is fact.outcome, "two outcomes"
            self.ends[fact.run_id] = record
        elif fact.run_id in self.stories:
            self.stories[fact.run_id].tell(fact)

    def release(self, ident: str, ready: StepReady) -> None:
        """Check work that is written to an agent's topic."""
        self.same_content(ident, ready, ready.model_dump_json())
        self.stories[ready.run_id].release(ready)


def _in_order(fact: RunSnapshot) -> str:
    """Write a snapshot such that the order in which things became owed makes no difference."""
    state = dict(fact.state)
    state["owed"] = sorted(state["owed"])
    state["timers"] = sorted(state["timers"], key=str)
    return json.dumps([fact.run_id, fact.as_of, fact.plan_offset, state])
