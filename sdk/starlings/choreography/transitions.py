"""Every move that a step and a run can make, in two tables.

A step waits for its dependencies, is released to its agent, runs, and settles; in between it may be
sent back for another attempt. A run goes on until all steps have settled, or turns round and
stops, and then owes the log its end. What is not in a table cannot happen: `move` raises
`InvariantBroken`, which parks that one run. The diagram in the docs is drawn from these tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from starlings.messages.errors import InvariantBroken


class Phase(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"  # for its dependencies
    READY = "ready"  # for a free place under max_parallel
    RELEASED = "released"  # step_ready is owed or published; nobody has said that it started
    RUNNING = "running"
    BACKOFF = "backoff"  # for the next attempt
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepEvent(StrEnum):
    """What can happen to a step."""

    DEPENDENCIES_SETTLED = "dependencies settled"
    PLACE_FREE = "place free"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED_FOR_NOW = "failed for now"
    FAILED_FOR_GOOD = "failed for good"
    RETRY_DUE = "retry due"
    DEPENDENCY_FAILED = "dependency failed"
    STOPPED = "stopped"


class RunPhase(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    STOPPING = "stopping"  # no new work; released attempts settle or their grace passes
    ENDING = "ending"  # decided; run_done is owed
    ENDED = "ended"  # run_done is in the log


class RunEvent(StrEnum):
    """What can happen to a run."""

    ALL_SETTLED = "all steps settled"
    STEP_FAILED = "step failed under policy stop"
    CANCEL_REQUESTED = "cancel requested"
    DEADLINE_PASSED = "deadline passed"
    GRACE_PASSED = "grace passed"
    PLAN_REJECTED = "plan rejected"
    END_RECORDED = "run_done in the log"


SETTLED = frozenset({Phase.DONE, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED})
OUT = frozenset({Phase.RELEASED, Phase.RUNNING})  # with an agent, so counted by max_parallel

STEP_MOVES: dict[tuple[Phase, StepEvent], Phase] = {
    (Phase.WAITING, StepEvent.DEPENDENCIES_SETTLED): Phase.READY,
    (Phase.WAITING, StepEvent.DEPENDENCY_FAILED): Phase.SKIPPED,
    (Phase.WAITING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.READY, StepEvent.PLACE_FREE): Phase.RELEASED,
    (Phase.READY, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.RELEASED, StepEvent.STARTED): Phase.RUNNING,
    (Phase.RELEASED, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.RELEASED, StepEvent.FAILED_FOR_NOW): Phase.BACKOFF,
    (Phase.RELEASED, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.RELEASED, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.RUNNING, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.RUNNING, StepEvent.FAILED_FOR_NOW): Phase.BACKOFF,
    (Phase.RUNNING, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.RUNNING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.BACKOFF, StepEvent.RETRY_DUE): Phase.READY,
    (Phase.BACKOFF, StepEvent.STOPPED): Phase.CANCELLED,
}

RUN_MOVES: dict[tuple[RunPhase, RunEvent], RunPhase] = {
    (RunPhase.RUNNING, RunEvent.ALL_SETTLED): RunPhase.ENDING,
    (RunPhase.RUNNING, RunEvent.STEP_FAILED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.CANCEL_REQUESTED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.DEADLINE_PASSED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.PLAN_REJECTED): RunPhase.ENDING,
    (RunPhase.STOPPING, RunEvent.ALL_SETTLED): RunPhase.ENDING,
    (RunPhase.STOPPING, RunEvent.GRACE_PASSED): RunPhase.ENDING,
    (RunPhase.RUNNING, RunEvent.END_RECORDED): RunPhase.ENDED,  # history wins
    (RunPhase.STOPPING, RunEvent.END_RECORDED): RunPhase.ENDED,
    (RunPhase.ENDING, RunEvent.END_RECORDED): RunPhase.ENDED,
}

_P = TypeVar("_P", Phase, RunPhase)
_E = TypeVar("_E", StepEvent, RunEvent)


def move(table: dict[tuple[_P, _E], _P], phase: _P, event: _E) -> _P:
    """Look a move up; raise `InvariantBroken` for one that cannot happen."""
    try:
        return table[phase, event]
    except KeyError:
        raise InvariantBroken(f"{event.value!r} cannot happen in phase {phase.value!r}") from None


def diagram() -> str:
    """Draw both tables as Mermaid state diagrams, for the docs."""
    parts = []
    for title, table in (("A step", STEP_MOVES), ("A run", RUN_MOVES)):
        first = next(iter(table))[0]
        lines = [f"    [*] --> {first.value}"]
        lines += [f"    {a.value} --> {b.value}: {e.value}" for (a, e), b in table.items()]
        ends = sorted({b.value for b in table.values()} - {a.value for a, _ in table})
        lines += [f"    {end} --> [*]" for end in ends]
        parts.append(f"### {title}\n\n```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)
