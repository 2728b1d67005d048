"""Read a model's proposal: a plan, a reason why there is none, or a list of problems."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from starlings.choreography.validation import parse_plan
from starlings.messages.errors import PlanInvalid, Problem
from starlings.messages.plan import Plan, Step
from starlings.messages.registry import AgentDefined

_ITEM = re.compile(r"\{\{\s*(item|index)\b")
_NO_REASON = frozenset({"", "null", "none", "n/a", "no", "false"})


class Proposal:
    """What the model proposed last; of several proposals for one request, the latest counts."""

    def __init__(self, agents: Mapping[str, AgentDefined], alive: Collection[str]) -> None:
        self._agents = agents
        self._alive = alive
        self.plan: Plan | None = None
        self.cannot: str | None = None
        self.problems: list[Problem] = []

    def read(self, value: Any) -> list[str]:
        """Take a proposal; returns what is wrong with it, for the model to mend."""
        self.plan, self.cannot, self.problems = None, None, []
        reason = _reason(value)
        steps = value.get("steps")
        if reason is not None and not steps:
            self.cannot = reason
            return []
        if reason is not None:
            self.problems = [_both()]
        else:
            self._read_plan({"steps": without_blanks(steps)})
        return [str(problem) for problem in self.problems]

    def _read_plan(self, data: Any) -> None:
        try:
            self.plan = parse_plan(data, agents=self._agents, alive=self._alive)
        except PlanInvalid as invalid:
            self.problems = invalid.problems
            return
        self.problems = list(item_problems(self.plan.steps))
        if self.problems:
            self.plan = None


def item_problems(steps: Iterable[Step]) -> Iterator[Problem]:
    """Find tasks that speak of an item where there is none: their agents would see the braces."""
    for step in steps:
        if step.foreach is None and _ITEM.search(step.task):
            yield Problem(
                code="item_without_foreach",
                step=step.id,
                field="foreach",
                message="the task speaks of {{item}} or {{index}}, and there is no list",
                remedy="name the list in foreach, or say in the task what is meant",
            )


def without_blanks(steps: Any) -> Any:
    """Leave out conditions and lists by which a model says that there are none.

    An empty list as well: a step that is done for each of nothing is never meant.
    """
    if not isinstance(steps, list):
        return steps
    return [_without_blanks(step) if isinstance(step, dict) else step for step in steps]


def _without_blanks(step: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in step.items() if n not in ("when", "foreach") or not _is_blank(v)}


def _is_blank(value: Any) -> bool:
    said = value.strip().lower() if isinstance(value, str) else value
    return said in (None, False, [], {}) or (isinstance(said, str) and said in _NO_REASON)


def as_proposal(value: Any) -> Any:
    """Bring what models commonly write instead into the shape that was asked for."""
    if isinstance(value, list):
        return {"steps": value, "cannot": None}
    if isinstance(value, dict) and "steps" not in value and value.get("cannot") is None:
        inner = value.get("plan")
        return as_proposal(inner) if isinstance(inner, dict | list) else value
    return value


def _reason(value: Any) -> str | None:
    reason = value.get("cannot")
    if not isinstance(reason, str) or reason.strip().lower() in _NO_REASON:
        return None
    return reason.strip()


def _both() -> Problem:
    return Problem(
        code="plan_and_cannot",
        field="cannot",
        message="there are steps, and a reason why there can be none",
        remedy='either set "cannot" to null, or leave "steps" empty',
    )
