"""Who says, in a run of one process, how it shall go on: a function in the planner's place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlings.messages import Amendment, AmendmentProposed, PlanInvalid, Problem, ReplanReady

Replans = Callable[[ReplanReady], Awaitable[Amendment]]


async def no_planner(_ready: ReplanReady) -> Amendment:
    """Find no other plan: nobody is there who could."""
    problem = Problem(
        code="no_planner",
        message="there is no planner in this process",
        remedy="give LocalRun a replanner",
    )
    raise PlanInvalid([problem])


async def answer(replanner: Replans, ready: ReplanReady) -> AmendmentProposed:
    """Ask how a run shall go on."""
    try:
        amendment, problems = await replanner(ready), []
    except PlanInvalid as invalid:
        amendment, problems = None, invalid.problems
    return AmendmentProposed(
        run_id=ready.run_id, number=ready.number, amendment=amendment, problems=problems
    )
