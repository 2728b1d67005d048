"""Every move that a step, its undoing, and a run can make, in three tables.

A step waits for its dependencies, is released to its agent, runs, and settles; in between it may be
sent back for another attempt. A run goes on until all steps have settled, or turns round and
stops or undoes what was done, and then owes the log its end. What is not in a table cannot happen:
`move` raises `InvariantBroken`, which parks that one run. The diagram in the docs is drawn from
these tables.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from starlings.messages.errors import InvariantBroken


class Phase(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"  # for its dependencies
    READY = "ready"  # for a free place under max_parallel
    RELEASED = "released"  # step_ready is owed or published; nobody has said that it started
    RUNNING = "running"
    BACKOFF = "backoff"  # for the next attempt
    ASKING = "asking"  # waits for a word from outside: an approval, a signal
    MAPPING = "mapping"  # done for each item of a list, as steps of their own
    AMENDING = "amending"  # done; its amendment of the plan is being looked at
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class StepEvent(StrEnum):
    """What can happen to a step."""

    DEPENDENCIES_SETTLED = "dependencies settled"
    LIST_KNOWN = "list known"
    PLACE_FREE = "place free"
    STARTED = "started"
    AMENDMENT_PROPOSED = "amendment proposed"
    REPLACED = "replaced"
    SUCCEEDED = "succeeded"
    FAILED_FOR_NOW = "failed for now"
    FAILED_FOR_GOOD = "failed for good"
    RETRY_DUE = "retry due"
    DEPENDENCY_FAILED = "dependency failed"
    CONDITION_FALSE = "condition false, or dependencies skipped"
    ASKED = "asked"
    STOPPED = "stopped"
    REOPENED = "reopened"
    REWOUND = "rewound"
    INHERITED = "inherited"


class UndoPhase(StrEnum):
    """Where the undoing of one attempt of a step stands."""

    WAITING = "waiting"  # for the steps that depend on the step to be undone
    READY = "ready"
    RELEASED = "released"
    BACKOFF = "backoff"
    UNDONE = "undone"
    FAILED = "failed"


class UndoEvent(StrEnum):
    """What can happen to an undoing."""

    DEPENDENTS_UNDONE = "dependents undone"
    PLACE_FREE = "place free"
    SUCCEEDED = "succeeded"
    FAILED_FOR_NOW = "failed for now"
    FAILED_FOR_GOOD = "failed for good"
    RETRY_DUE = "retry due"
    RETRY_REQUESTED = "retry requested"


class RunPhase(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    STOPPING = "stopping"  # no new work; released attempts settle or their grace passes
    COMPENSATING = "compensating"  # the same, and what was done is undone
    ENDING = "ending"  # decided; run_done is owed
    ENDED = "ended"  # run_done is in the log


class RunEvent(StrEnum):
    """What can happen to a run."""

    ALL_SETTLED = "all steps settled"
    STEP_FAILED = "step failed under policy stop"
    CANCEL_REQUESTED = "cancel requested"
    DEADLINE_PASSED = "deadline passed"
    BUDGET_EXCEEDED = "budget exceeded"
    TURNED_ROUND = "failed, cancelled, too late or too dear under policy compensate"
    ALL_UNDONE = "nothing is left to undo"
    REOPENED = "retry requested"
    UNDOING_REOPENED = "retry of compensations requested"
    PLAN_REJECTED = "plan rejected"
    END_RECORDED = "run_done in the log"


SETTLED = frozenset({Phase.DONE, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED})
OUT = frozenset({Phase.RELEASED, Phase.RUNNING})  # with an agent, so counted by max_parallel
_NOT_BEGUN = SETTLED | {Phase.WAITING}
UNDOING = frozenset({UndoPhase.READY, UndoPhase.RELEASED, UndoPhase.BACKOFF})

STEP_MOVES: dict[tuple[Phase, StepEvent], Phase] = {
    (Phase.WAITING, StepEvent.DEPENDENCIES_SETTLED): Phase.READY,
    (Phase.WAITING, StepEvent.DEPENDENCY_FAILED): Phase.SKIPPED,
    (Phase.WAITING, StepEvent.CONDITION_FALSE): Phase.SKIPPED,
    (Phase.WAITING, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.WAITING, StepEvent.INHERITED): Phase.DONE,
    (Phase.WAITING, StepEvent.LIST_KNOWN): Phase.MAPPING,
    (Phase.MAPPING, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.MAPPING, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.MAPPING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.WAITING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.READY, StepEvent.PLACE_FREE): Phase.RELEASED,
    (Phase.READY, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.RELEASED, StepEvent.STARTED): Phase.RUNNING,
    (Phase.RELEASED, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.RELEASED, StepEvent.AMENDMENT_PROPOSED): Phase.AMENDING,
    (Phase.RUNNING, StepEvent.AMENDMENT_PROPOSED): Phase.AMENDING,
    (Phase.AMENDING, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.READY, StepEvent.REPLACED): Phase.WAITING,
    (Phase.RELEASED, StepEvent.FAILED_FOR_NOW): Phase.BACKOFF,
    (Phase.RELEASED, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.RELEASED, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.RUNNING, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.RUNNING, StepEvent.FAILED_FOR_NOW): Phase.BACKOFF,
    (Phase.RUNNING, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.RUNNING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.BACKOFF, StepEvent.RETRY_DUE): Phase.READY,
    (Phase.BACKOFF, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.READY, StepEvent.ASKED): Phase.ASKING,
    (Phase.ASKING, StepEvent.SUCCEEDED): Phase.DONE,
    (Phase.ASKING, StepEvent.FAILED_FOR_GOOD): Phase.FAILED,
    (Phase.ASKING, StepEvent.STOPPED): Phase.CANCELLED,
    (Phase.FAILED, StepEvent.REOPENED): Phase.WAITING,
    (Phase.SKIPPED, StepEvent.REOPENED): Phase.WAITING,
    (Phase.CANCELLED, StepEvent.REOPENED): Phase.WAITING,
    (Phase.DONE, StepEvent.REWOUND): Phase.WAITING,
    (Phase.FAILED, StepEvent.REWOUND): Phase.WAITING,
    (Phase.SKIPPED, StepEvent.REWOUND): Phase.WAITING,
    (Phase.CANCELLED, StepEvent.REWOUND): Phase.WAITING,
}

UNDO_MOVES: dict[tuple[UndoPhase, UndoEvent], UndoPhase] = {
    (UndoPhase.WAITING, UndoEvent.DEPENDENTS_UNDONE): UndoPhase.READY,
    (UndoPhase.READY, UndoEvent.PLACE_FREE): UndoPhase.RELEASED,
    (UndoPhase.RELEASED, UndoEvent.SUCCEEDED): UndoPhase.UNDONE,
    (UndoPhase.READY, UndoEvent.SUCCEEDED): UndoPhase.UNDONE,  # these: by an earlier try
    (UndoPhase.BACKOFF, UndoEvent.SUCCEEDED): UndoPhase.UNDONE,
    (UndoPhase.FAILED, UndoEvent.SUCCEEDED): UndoPhase.UNDONE,
    (UndoPhase.RELEASED, UndoEvent.FAILED_FOR_NOW): UndoPhase.BACKOFF,
    (UndoPhase.RELEASED, UndoEvent.FAILED_FOR_GOOD): UndoPhase.FAILED,
    (UndoPhase.BACKOFF, UndoEvent.RETRY_DUE): UndoPhase.READY,
    (UndoPhase.FAILED, UndoEvent.RETRY_REQUESTED): UndoPhase.READY,
}

RUN_MOVES: dict[tuple[RunPhase, RunEvent], RunPhase] = {
    (RunPhase.RUNNING, RunEvent.ALL_SETTLED): RunPhase.ENDING,
    (RunPhase.RUNNING, RunEvent.STEP_FAILED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.CANCEL_REQUESTED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.DEADLINE_PASSED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.BUDGET_EXCEEDED): RunPhase.STOPPING,
    (RunPhase.RUNNING, RunEvent.PLAN_REJECTED): RunPhase.ENDING,
    (RunPhase.STOPPING, RunEvent.ALL_SETTLED): RunPhase.ENDING,
    (RunPhase.RUNNING, RunEvent.TURNED_ROUND): RunPhase.COMPENSATING,
    (RunPhase.COMPENSATING, RunEvent.ALL_UNDONE): RunPhase.ENDING,
    (RunPhase.RUNNING, RunEvent.END_RECORDED): RunPhase.ENDED,  # history wins
    (RunPhase.STOPPING, RunEvent.END_RECORDED): RunPhase.ENDED,
    (RunPhase.COMPENSATING, RunEvent.END_RECORDED): RunPhase.ENDED,
    (RunPhase.ENDING, RunEvent.END_RECORDED): RunPhase.ENDED,
    (RunPhase.ENDED, RunEvent.REOPENED): RunPhase.RUNNING,
    (RunPhase.ENDED, RunEvent.UNDOING_REOPENED): RunPhase.COMPENSATING,
}

_P = TypeVar("_P", Phase, UndoPhase, RunPhase)
_E = TypeVar("_E", StepEvent, UndoEvent, RunEvent)


def move(table: dict[tuple[_P, _E], _P], phase: _P, event: _E) -> _P:
    """Look a move up; raise `InvariantBroken` for one that cannot happen."""
    try:
        return table[phase, event]
    except KeyError:
        raise InvariantBroken(f"{event.value!r} cannot happen in phase {phase.value!r}") from None


def is_begun(phase: Phase) -> bool:
    """Say whether a step in this phase has been made ready, and has not settled."""
    return phase not in _NOT_BEGUN


def diagram() -> str:
    """Draw the tables as Mermaid state diagrams, for the docs."""
    drawn: list[tuple[str, dict[Any, Any], set[Any]]] = [
        ("A step", STEP_MOVES, set(SETTLED)),
        ("The undoing of a step", UNDO_MOVES, {UndoPhase.UNDONE, UndoPhase.FAILED}),
        ("A run", RUN_MOVES, {RunPhase.ENDED}),
    ]
    parts = []
    for title, table, last in drawn:
        first = next(iter(table))[0]
        lines = [f"    [*] --> {first.value}"]
        lines += [f"    {a.value} --> {b.value}: {e.value}" for (a, e), b in table.items()]
        lines += [f"    {end} --> [*]" for end in sorted(end.value for end in last)]
        parts.append(f"### {title}\n\n```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)
