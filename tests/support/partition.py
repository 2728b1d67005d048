"""One partition of the log, told fact by fact to a ledger with small limits."""

from __future__ import annotations

from typing import Any

from starlings.choreography import CarryPolicy, Change, Ignored, Ledger, Position
from starlings.messages import (
    AgentAlive,
    CancelRequested,
    Message,
    Plan,
    PlanCreated,
    RunDone,
    RunOutcome,
    RunSnapshot,
    StepDone,
    StepOutcome,
)

from .runs import steps_of

SMALL = CarryPolicy(
    look_back_records=20,
    look_back_ms=10_000,
    carry_after_records=10,
    carry_after_ms=50_000,
    sample_every=2,
)


def planned(run_id: str, *specs: str) -> PlanCreated:
    return PlanCreated(run_id=run_id, plan=Plan(steps=steps_of(*(specs or ("a", "b<a")))))


def cancel(run_id: str) -> CancelRequested:
    return CancelRequested(run_id=run_id)


def end(run_id: str) -> RunDone:
    return RunDone(run_id=run_id, outcome=RunOutcome.COMPLETED)


def done(run_id: str, name: str = "a") -> StepDone:
    return StepDone(
        run_id=run_id, step_id=name, attempt=1, agent="math", outcome=StepOutcome.OK, output=1
    )


def poison(run_id: str) -> Message:
    """Make a fact that this code cannot go on with."""
    return StepDone.model_construct(
        run_id=run_id, step_id="a", attempt=1, outcome=StepOutcome.OK, output={1}, usage=None
    )


class Reader:
    """A ledger, and a log that grows by one record at a time."""

    def __init__(self, start: int = 0, *, recovering: bool = False, **known: int) -> None:
        self.ledger = Ledger(start=start, policy=SMALL, known_plans=known)
        self.now_ms = 0
        if not recovering:
            self.ledger.finish_recovery()

    @property
    def place(self) -> Position:
        return Position(self.ledger.position, self.now_ms)

    def read(self, *facts: Message) -> Change | Ignored:
        outcome: Change | Ignored = Change()
        for fact in facts:
            outcome = self.ledger.fold(self.place, fact)
        return outcome

    def pass_by(self, count: int, ms: int = 0) -> None:
        for _ in range(count):
            self.ledger.skip(self.place)
        self.now_ms += ms

    def carried(self, run_id: str) -> RunSnapshot:
        text = self.ledger.carry(run_id).model_dump_json()
        return RunSnapshot.model_validate_json(text)


def ids(change: Any) -> list[str]:
    return [decision.id for decision in change.decisions]


def carried_run() -> tuple[Reader, list[Message]]:
    """Tell a log in which `r` is carried forward with step `a` done: offsets 0 to 3."""
    reader = Reader()
    log: list[Message] = [planned("r"), done("r")]
    reader.read(*log)
    reader.pass_by(1)
    log += [AgentAlive(agent="math", instance="i"), reader.carried("r")]
    return reader, log
