"""Judging an amendment by what the planner was told of a run, as its coordinator will judge it."""

from __future__ import annotations

from starlings.messages.amendments import Amendment
from starlings.messages.errors import Problem
from starlings.messages.plan import RunOptions, Step
from starlings.messages.replanning import ReplanReady

from . import amending
from .state import Replan, Run
from .transitions import Phase

_REMOVED = "removed"


def standing_problems(ready: ReplanReady, amendment: Amendment) -> list[Problem]:
    """List what is wrong with an amendment, as far as can be told from the question."""
    run = Run(run_id=ready.run_id, options=RunOptions(), plan_offset=0, began_ms=0)
    gone = [told for told in ready.steps if told.state == _REMOVED]
    for told in gone:
        run.add(Step(id=told.step_id, agent=told.agent)).removed = True
    run.lay_out(ready.plan)
    for told in ready.steps:
        step = run.steps[told.step_id]
        step.phase = Phase.CANCELLED if step.removed else Phase(told.state)
        step.attempt = told.attempts
    asked = run.steps.get(ready.step_id or "")
    failed = asked is not None and asked.phase is Phase.FAILED
    replan = Replan(ready.number, ready.text, ready.step_id, failed=failed, amendment=amendment)
    return amending.replan_problems(run, replan)
