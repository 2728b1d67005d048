"""What a run may use, and what it has used: looked at before each step that is made ready.

A budget that is used up to its last token is exceeded: nothing is left for another step. What is at
work goes on, so a run may use more than it was given, by what the steps at work use. A run that is
reopened has its budget anew. Calls without a known price cost nothing here: nobody can say what
else; whoever is told of the budget is told how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from starlings.messages.base import NANO
from starlings.messages.errors import ErrorInfo, Problem
from starlings.messages.plan import RunOptions

from .state import COST, UNPRICED, Run

CODE = "budget_exceeded"
_SAID = {
    "tokens": "{used:,} of {allowed:,} tokens",
    "cost_usd": "${used:.6g} of ${allowed:g}",
    "wall_time_s": "{used:.6g} of {allowed:g} s",
}


class Spending(NamedTuple):
    """One limit of a budget, and how much of it is used."""

    limit: str
    used: float
    allowed: float
    unpriced: int = 0  # calls that are not in what is used, since nobody knows their price

    def __str__(self) -> str:
        """Say all of it."""
        said = _SAID[self.limit].format(used=self.used, allowed=self.allowed)
        return f"{said} and {unpriced_text(self.unpriced)}" if self.unpriced else said


def unpriced_text(calls: int) -> str:
    """Say of how many calls nobody knows what they cost."""
    return f"{calls:,} call{'s' if calls != 1 else ''} without a known price"


def spendings(run: Run, at_ms: int) -> Iterator[Spending]:
    """Say of each limit of a run's budget how much of it is used."""
    budget = run.options.budget
    if budget is None:
        return
    if budget.tokens is not None:
        used = _used(run, "input_tokens") + _used(run, "output_tokens")
        yield Spending("tokens", used, budget.tokens)
    if budget.cost_usd is not None:
        cost = _used(run, COST) / NANO
        yield Spending("cost_usd", cost, budget.cost_usd, _used(run, UNPRICED))
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
