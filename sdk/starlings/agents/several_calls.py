"""A step of several tool calls is one step: what they say beside their outputs is put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlings.messages import Amendment, Compensation, StepFailed

from .agent import Agent
from .values import Result


def as_one(agent: Agent, last: Result, made: Sequence[Result]) -> Result:
    """Give `last` as the result of the step, with what all calls of it have said.

    Raises:
        StepFailed: `undo_ambiguous`.
    """
    asked = list(dict.fromkeys(each.replan for each in made if each.replan is not None))
    return replace(
        last,
        undo=_undo_of(agent, [each.undo for each in made]),
        amend=_amendment_of([each.amend for each in made if each.amend is not None]),
        replan="; ".join(asked) if asked else None,
    )


def _undo_of(agent: Agent, undos: Sequence[Compensation | bool]) -> Compensation | bool:
    """Say what undoes all calls: a step can record one compensation only."""
    if agent.compensates:
        wanted = [undo for undo in undos if undo is not False]
        if len(wanted) == 1:
            return wanted[0]
        return bool(wanted)  # its @compensate stands for the whole step
    named = [undo for undo in undos if isinstance(undo, Compensation)]
    if len(named) > 1:
        raise StepFailed(
            f"{len(named)} calls of this step say what undoes them, and a step can record one "
            f"compensation; give agent {agent.name!r} an @agent.compensate for whole steps",
            code="undo_ambiguous",
        )
    return named[0] if named else True


def _amendment_of(amendments: Sequence[Amendment]) -> Amendment | None:
    """Make one amendment of all; what contradicts itself is found where it is looked at."""
    if not amendments:
        return None
    if len(amendments) == 1:
        return amendments[0]
    return Amendment(
        add=[step for each in amendments for step in each.add],
        replace=[step for each in amendments for step in each.replace],
        remove=[step for each in amendments for step in each.remove],
        invalidate=[step for each in amendments for step in each.invalidate],
        join=any(each.join for each in amendments),
        reason="; ".join(dict.fromkeys(each.reason for each in amendments if each.reason)),
    )
