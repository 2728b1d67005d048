"""A recorded run, told fact by fact, and what a fork of it keeps and begins with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from starlings.choreography import DecisionKind, begin, message_for
from starlings.kafka.codec import Received
from starlings.messages import (
    AgentDefined,
    Envelope,
    FailurePolicy,
    Message,
    Origin,
    Plan,
    PlanCreated,
    RunForked,
    RunOptions,
    Step,
)
from starlings.replay.entries import Entry
from starlings.replay.forking import Known, Wishes, fork_of
from starlings.replay.recorded import RecordedRun

from .runs import BEGIN_MS, ok, steps_of

KNOWN = Known(
    agents={"math": AgentDefined(agent="math"), "writer": AgentDefined(agent="writer")},
    alive={"math"},
    variants={("math", "v2"), ("writer", "v2")},
)
FIRST = 40  # offset of the run's first fact


class Log:
    """Facts of a run, as a source delivers them."""

    def __init__(self, *specs: str | Step, **options: Any) -> None:
        options.setdefault("on_failure", FailurePolicy.STOP)
        steps = [s if isinstance(s, Step) else steps_of(s)[0] for s in specs]
        plan = PlanCreated(
            run_id="r",
            request="please",
            plan=Plan(steps=steps),
            options=RunOptions(**options),
            tags={"who": "me"},
        )
        self.facts: list[Message | None] = [plan] if specs else []
        self.lost: dict[int, str] = {}

    def tell(self, *facts: Message) -> Log:
        self.facts += facts
        return self

    def lose(self, ident: str, *, kind: str = "step_done") -> Log:
        self.lost[len(self.facts)] = ident
        self.facts.append(None)
        self.kind = kind
        return self

    def recorded(self, until: int | None = None, first: int = FIRST) -> RecordedRun:
        told = RecordedRun("r", until)
        for number, fact in enumerate(self.facts):
            offset = first + number
            if fact is None:
                kind = f"starlings.{self.kind}.v1".encode()
                headers = [("ce_type", kind), ("ce_id", self.lost[number].encode())]
                record: Any = SimpleNamespace(
                    offset=offset, topic="events", partition=0, headers=headers, key=b"r"
                )
                told.add(Entry(record, problem="its blob is gone"))
                continue
            at_ms = BEGIN_MS + number
            envelope = Envelope(f"r/{number}", fact.CE_TYPE, "test", "r", at_ms)
            received = Received(Origin("events", 0, offset), at_ms, b"r", envelope, fact)
            told.add(Entry(SimpleNamespace(offset=offset, topic="events"), received))
        return told

    def fork(self, *, until: int | None = None, known: Known = KNOWN, **wishes: Any) -> RunForked:
        told = self.recorded(until)
        return fork_of(told, Wishes(**wishes), run_id="f", known=known, requested_by="Ann")


def kept(fact: RunForked) -> dict[str, Any]:
    return {result.step_id: result.output for result in fact.inherited}


def half(*specs: str | Step, **options: Any) -> Log:
    log = Log(*(specs or ("a", "b<a", "c<b", "d")), **options)
    return log.tell(ok("a", 1), ok("b", 2), ok("d", 4))


def begun(fact: RunForked) -> list[str]:
    """Begin a fork, as the coordinator does; say what it releases."""
    run, change = begin(fact, offset=1, at_ms=BEGIN_MS)
    assert not run.problems
    ready = [d for d in change.decisions if d.kind is DecisionKind.RELEASE]
    assert all(message_for(run, decision).run_id == "f" for decision in ready)
    return [decision.step_id or "" for decision in ready]
