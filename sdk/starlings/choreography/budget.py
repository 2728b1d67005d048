"""What a run may use, and what it has used: looked at before each step that is made ready.

A budget that is used up to its last token is exceeded: nothing is left for another step. What is at
work goes on, so a run may use more than it was given, by what the steps at work use. A run that is
reopened has its budget anew. What cost nobody told of counts as nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from starlings.messages.base import NANO
from starlings.messages.errors import ErrorInfo, Problem
from starlings.messages.plan import RunOptions

from .state import COST, Run

CODE = "budget_exceeded"
_SAID = {
    "tokens": "{used:,.0f} of {allowed:,} tokens",
    "cost_usd": "${used:.6g} of ${allowed:g}",
    "wall_time_s": "{used:.6g} of {allowed:g} s",
}


class Spending(NamedTuple):
    """One limit of a budget, and how much of it is used."""

    limit: str
    used: float
    allowed: float

    def __str__(self) -> str:
        """Say both."""
        return _SAID[self.limit].format(used=self.used, allowed=self.allowed)


def spendings(run: Run, at_ms: int) -> Iterator[Spending]:
    """Say of each limit of a run's budget how much of it is used."""
    budget = run.options.budget
    if budget is None:
        return
    if budget.tokens is not None:
        used = _used(run, "input_tokens") + _used(run, "output_tokens")
        yield Spending("tokens", used, budget.tokens)
    if budget.cost_usd is not None:
        yield Spending("cost_usd", _used(run, COST) / NANO, budget.cost_usd)
    if budget.wall_time_s is not None:
        yield Spending("wall_time_s", max(at_ms - run.opened_ms, 0) / 1000, budget.wall_time_s)


def _used(run: Run, name: str) -> int:
    return run.usage.get(name, 0) - run.used_before.get(name, 0)


def exceeded(run: Run, at_ms: int) -> ErrorInfo | None:
    """Say what is used up, where no further step may be made ready."""
    told = list(spendings(run, at_ms))
    if all(spending.used < spending.allowed for spending in told):
        return None
    used = ", ".join(str(spending) for spending in told)
    return ErrorInfo(
        code=CODE,
        message=f"the budget of the run is used up ({used}): give it more, or less to do",
    )


def budget_problems(options: RunOptions | None) -> Iterator[Problem]:
    """Find budgets with which no step could ever be made ready, or that limit nothing."""
    budget = options.budget if options is not None else None
    if budget is None:
        return
    limits = {n: v for n in _SAID if (v := getattr(budget, n)) is not None}
    if not limits:
        yield Problem(
            code="bad_budget",
            field="budget",
            message="the budget limits nothing",
            remedy=f"name one of {', '.join(_SAID)}, or leave it out",
        )
    for name, allowed in limits.items():
        if allowed <= 0:
            yield Problem(
                code="bad_budget",
                field=f"budget.{name}",
                message=f"the budget is {allowed:g}: no step could be done with that",
                remedy="give it more than 0, or leave it out",
            )
