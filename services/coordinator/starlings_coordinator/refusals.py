"""What the log is told instead of a message that Kafka will never take.

A run must not wait for ever for work that cannot reach its agent, nor for an end that cannot be
written: the attempt fails, the end comes without its outputs.
"""

from __future__ import annotations

from starlings.messages import (
    AmendmentProposed,
    AmendmentRejected,
    CompensationDone,
    CompensationReady,
    ErrorInfo,
    Message,
    PlanAmended,
    Problem,
    ReplanReady,
    RunDone,
    StarlingsError,
    StepDone,
    StepOutcome,
    StepReady,
    attempt_id,
    error_info,
    generation_id,
    message_id,
    replan_id,
    undo_id,
)


def unknown_agent(topic: str) -> StarlingsError:
    """Say that work has nowhere to go."""
    return StarlingsError(
        f"no agent has been started that reads {topic}: the topic is missing, "
        "or hidden from this Kafka user",
        code="unknown_agent",
    )


def in_place_of(message: Message, failure: StarlingsError) -> Message | None:
    """Build the fact that answers for a message; None where nobody waits for it."""
    if isinstance(message, StepReady):
        return StepDone(
            run_id=message.run_id,
            step_id=message.step_id,
            attempt=message.attempt,
            agent=message.agent,
            outcome=StepOutcome.ERROR,
            error=error_info(failure),
            instance="coordinator",
        )
    if isinstance(message, CompensationReady):
        return CompensationDone(
            run_id=message.run_id,
            step_id=message.step_id,
            attempt=message.attempt,
            number=message.number,
            agent=message.agent,
            outcome=StepOutcome.ERROR,
            error=error_info(failure),
            instance="coordinator",
        )
    if isinstance(message, ReplanReady):
        problem = Problem(
            code=failure.code, message=f"the planner cannot be asked: {failure}", remedy="see there"
        )
        return AmendmentProposed(run_id=message.run_id, number=message.number, problems=[problem])
    if isinstance(message, PlanAmended):
        problem = Problem(
            code=failure.code, field="amendment", message=str(failure), remedy="start it first"
        )
        return AmendmentRejected(
            run_id=message.run_id,
            step_id=message.step_id,
            attempt=message.attempt,
            replan=message.replan,
            problems=[problem],
        )
    if isinstance(message, RunDone):
        return _without_outputs(message, failure)
    return None


def in_place_id(message: Message) -> str:
    """Name the fact that answers for a message, the same at every try."""
    if isinstance(message, StepReady):
        return attempt_id(message.run_id, message.step_id, message.attempt, StepDone.NAME)
    if isinstance(message, CompensationReady):
        attempt, number, name = message.attempt, message.number, CompensationDone.NAME
        return undo_id(message.run_id, message.step_id, attempt, number, name)
    if isinstance(message, ReplanReady):
        return replan_id(message.run_id, message.number, AmendmentProposed.NAME)
    if isinstance(message, PlanAmended):
        return _rejection_id(message)
    if isinstance(message, RunDone):
        return generation_id(message.run_id, message.NAME, message.generation)
    return message_id(getattr(message, "run_id", ""), message.NAME)


def _rejection_id(message: PlanAmended) -> str:
    name = AmendmentRejected.NAME
    if message.replan is not None:
        return replan_id(message.run_id, message.replan, name)
    return attempt_id(message.run_id, message.step_id or "", message.attempt, name)


def _without_outputs(end: RunDone, failure: StarlingsError) -> RunDone | None:
    steps = [step.model_copy(update={"output": None, "summary": None}) for step in end.steps]
    bare = end.model_copy(
        update={
            "output": None,
            "text": "",
            "steps": steps,
            "error": end.error
            or ErrorInfo(code=failure.code, message=f"the outputs are left out: {failure}"),
        }
    )
    return bare if bare != end else None
