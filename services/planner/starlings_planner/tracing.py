"""What the planner's spans tell: of which run, how many steps, what the model used."""

from __future__ import annotations

from collections.abc import Sequence

from starlings.kafka.codec import Received
from starlings.messages import AmendmentProposed, ErrorInfo, PlanCreated, PlanRejected, Problem
from starlings.service import consumer_span, note_outcome
from starlings.telemetry import Span, Tracer


def planning_span(
    tracer: Tracer, name: str, run_id: str, received: Received, group_id: str
) -> Span:
    """Begin the span of a plan, which all steps of the run come below."""
    about = {"starlings.run_id": run_id}
    return consumer_span(tracer, name, received, group_id=group_id, attributes=about)


def note_plan(span: Span, outcome: PlanCreated | PlanRejected) -> None:
    """Say what came of a request."""
    if isinstance(outcome, PlanCreated):
        span.note({"starlings.steps": len(outcome.plan.steps)})
        note_outcome(span, "planned", usage=outcome.usage, failure=None)
    else:
        failure = _first(outcome.problems)
        note_outcome(span, "rejected", usage=outcome.usage, failure=failure)


def note_amendment(span: Span, proposed: AmendmentProposed) -> None:
    """Say what came of the question how a run shall go on."""
    failure = _first(proposed.problems) if proposed.amendment is None else None
    outcome = "rejected" if failure is not None else "planned"
    note_outcome(span, outcome, usage=proposed.usage, failure=failure)


def _first(problems: Sequence[Problem]) -> ErrorInfo | None:
    listed = (ErrorInfo(code=each.code, message=str(each)) for each in problems)
    return next(listed, None)
