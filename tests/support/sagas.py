"""Telling a saga to the core: what was done and can be undone, and what became of undoing it."""

from __future__ import annotations

from typing import Any

from starlings.choreography import DecisionKind, message_for
from starlings.messages import (
    Compensation,
    CompensationDone,
    ErrorInfo,
    FailurePolicy,
    StepDone,
    StepOutcome,
)

from .runs import Story, ok

UNDO = Compensation(agent="math")
COMPENSATE = FailurePolicy.COMPENSATE


class Saga(Story):
    """A run whose failures are undone."""

    def __init__(self, *specs: Any, **options: Any) -> None:
        super().__init__(*specs, **{"on_failure": COMPENSATE} | options)

    def undos(self) -> list[str]:
        """Say which tries to undo are owed, without the run and the type: `a/1/1`."""
        return [
            d.id.removeprefix("r/").replace("/compensation_ready", "")
            for d in self.owed(DecisionKind.UNDO)
        ]

    def undo_phases(self) -> dict[str, str]:
        return {
            f"{step}/{attempt}": undo.phase.value
            for (step, attempt), undo in self.run.undos.items()
        }


def message_of(saga: Saga, kind: DecisionKind) -> Any:
    """Build the message of the one decision of a kind that is owed."""
    (decision,) = saga.owed(kind)
    return message_for(saga.run, decision)


def did(name: str, output: Any = None, *, attempt: int = 1) -> StepDone:
    """A step was done, and can be undone."""
    return ok(name, output, attempt=attempt, compensation=UNDO)


def undone(name: str, number: int = 1, *, attempt: int = 1) -> CompensationDone:
    return CompensationDone(
        run_id="r",
        step_id=name,
        attempt=attempt,
        number=number,
        agent="math",
        outcome=StepOutcome.OK,
    )


def not_undone(
    name: str, number: int = 1, *, attempt: int = 1, retryable: bool = False, **more: Any
) -> CompensationDone:
    error = ErrorInfo(code="stuck", message=f"{name} sticks", retryable=retryable)
    said = {"error": error} | more
    return CompensationDone(
        run_id="r",
        step_id=name,
        attempt=attempt,
        number=number,
        agent="math",
        outcome=StepOutcome.ERROR,
        **said,
    )
