"""What agents of a world say of their work: a function of the work and of a number."""

from __future__ import annotations

from starlings.messages import (
    Amendment,
    Compensation,
    CompensationDone,
    CompensationReady,
    ErrorInfo,
    Step,
    StepDone,
    StepOutcome,
    StepReady,
    attempt_id,
    undo_id,
)


def end_of(
    ready: StepReady | CompensationReady, pick: int
) -> tuple[str, StepDone | CompensationDone]:
    """End a piece of work, well or badly."""
    run_id, step_id, attempt = ready.run_id, ready.step_id, ready.attempt
    if isinstance(ready, StepReady):
        return attempt_id(run_id, step_id, attempt, StepDone.NAME), _result(ready, pick)
    failed = pick % 10 >= 7
    error = ErrorInfo(code="broken", message="cannot undo", retryable=pick % 4 != 0)
    done = CompensationDone(
        run_id=run_id,
        step_id=step_id,
        attempt=attempt,
        number=ready.number,
        agent=ready.agent,
        outcome=StepOutcome.ERROR if failed else StepOutcome.OK,
        error=error if failed else None,
    )
    return undo_id(run_id, step_id, attempt, ready.number, done.NAME), done


def _result(ready: StepReady, pick: int) -> StepDone:
    outcome = StepOutcome.OK
    if pick % 10 >= 7:
        outcome = (StepOutcome.ERROR, StepOutcome.ERROR, StepOutcome.CANCELLED)[pick % 3]
    error = ErrorInfo(code="broken", message="it broke", retryable=pick % 4 != 0)
    return StepDone(
        run_id=ready.run_id,
        step_id=ready.step_id,
        attempt=ready.attempt,
        agent=ready.agent,
        outcome=outcome,
        output={"step": ready.step_id, "pick": pick} if outcome is StepOutcome.OK else None,
        error=None if outcome is StepOutcome.OK else error,
        usage={"calls": 1, "input_tokens": pick},
        compensation=Compensation(agent=ready.agent) if pick % 5 else None,
        amendment=_more(ready) if pick % 11 == 0 else None,
        replan=f"{ready.step_id} is not good enough" if pick % 23 == 0 else None,
    )


def _more(ready: StepReady) -> Amendment:
    """Ask for two steps more, one of which needs this one's result; the same every time."""
    name = f"{ready.step_id.replace('[', '-').removesuffix(']')}-more"
    first = Step(id=name, agent="math", task="more", depends_on=[ready.step_id])
    return Amendment(add=[first, Step(id=f"{name}2", agent="math", task="more")])
