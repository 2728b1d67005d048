"""Read a model's proposal: a plan, a reason why there is none, or a list of problems."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlings.choreography.validation import parse_plan
from starlings.messages.errors import PlanInvalid, Problem
from starlings.messages.plan import Plan
from starlings.messages.registry import AgentDefined

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
            self._read_plan({"steps": steps})
        return [str(problem) for problem in self.problems]

    def _read_plan(self, data: Any) -> None:
        try:
            self.plan = parse_plan(data, agents=self._agents, alive=self._alive)
        except PlanInvalid as invalid:
            self.problems = invalid.problems


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
