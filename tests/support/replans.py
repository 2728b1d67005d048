"""Telling the core that a run is to be planned anew."""

from __future__ import annotations

from starlings.choreography import DecisionKind, message_for
from starlings.messages import (
    Amendment,
    AmendmentProposed,
    AmendmentRejected,
    FailurePolicy,
    PlanAmended,
    Problem,
    ReplanReady,
    ReplanRequested,
)

from .runs import Story, failed
from .sagas import Saga, did

REPLAN = FailurePolicy.REPLAN
UNKNOWN = Problem(code="unknown_agent", message="no agent", remedy="start it first")


def wanted(text: str = "otherwise, please") -> ReplanRequested:
    return ReplanRequested(run_id="r", text=text)


def proposed(number: int = 1, **amendment: object) -> AmendmentProposed:
    return AmendmentProposed(run_id="r", number=number, amendment=Amendment(**amendment))


def accepted(number: int = 1) -> PlanAmended:
    return PlanAmended(run_id="r", replan=number, amendment=Amendment())


def rejected(number: int = 1) -> AmendmentRejected:
    return AmendmentRejected(run_id="r", replan=number, problems=[UNKNOWN])


def released(story: Story) -> list[str]:
    return [f"{d.step_id}/{d.attempt}" for d in story.owed(DecisionKind.RELEASE)]


def question(story: Story) -> ReplanReady:
    (decision,) = story.owed(DecisionKind.PLAN_ANEW)
    ready = message_for(story.run, decision)
    assert isinstance(ready, ReplanReady)
    return ready


def refusals(story: Story) -> dict[str, list[str]]:
    """Say what was refused, by the decision's id."""
    told = {d.id: message_for(story.run, d) for d in story.owed(DecisionKind.REJECT)}
    return {ident: [problem.code for problem in fact.problems] for ident, fact in told.items()}


def hopeless(*steps: str, **options: object) -> Saga:
    """Make a run whose first step is done and whose second one has failed for good."""
    saga = Saga(*(steps or ("a", "b<a", "c<b")), on_failure=REPLAN, **options)
    saga.tell(did("a", "A"), failed("b"))
    return saga
