"""Does a plan make sense? Every problem at once, each with its step, field, code and remedy.

`parse_plan` takes whatever a client or a model wrote; `check_plan` looks at a plan that has the
right shape. Neither stops at the first problem: people and models mend faster with the whole list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from pydantic import ValidationError

from starlings.messages.errors import PlanInvalid, Problem
from starlings.messages.plan import Plan, RunOptions, Step, normalise_plan
from starlings.messages.registry import AgentDefined

from . import budget, checks

PROBLEMS_LISTED = 1_000  # nobody reads more, and a hostile plan could have millions


@dataclass(frozen=True)
class Limits:
    """How large a plan may be."""

    steps: int = 10_000
    size_bytes: int = 8 * 1024 * 1024
    max_parallel: int = 10_000


DEFAULT_LIMITS = Limits()

_EXCERPT = 80
_MORE = Problem(
    code="more_problems",
    message=f"there are more problems than these {PROBLEMS_LISTED:,}",
    remedy="mend these first",
)


def parse_plan(
    data: Any,
    *,
    agents: Mapping[str, AgentDefined] | None = None,
    alive: Collection[str] | None = None,
    options: RunOptions | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Plan:
    """Read a plan and check it; without `agents` (or `alive`) those checks are left out.

    Raises:
        PlanInvalid: with every problem found.
    """
    data = normalise_plan(data.model_dump(mode="json") if isinstance(data, Plan) else data)
    too_big = list(_size_problems(data, limits))
    if too_big:  # looking closer would cost what the limit protects from
        raise PlanInvalid(too_big)
    known: set[str] | None = None
    problems: list[Problem] = []
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        problems = [_shape_problem(e, data) for e in error.errors()[:PROBLEMS_LISTED]]
        plan = _readable_part(data)
        known = {i for step in _raw_steps(data) if isinstance(i := step.get("id"), str)}
    problems += check_plan(
        plan, agents=agents, alive=alive, options=options, limits=limits, known=known
    )
    if problems:
        raise PlanInvalid(problems)
    return plan


def check_plan(
    plan: Plan,
    *,
    agents: Mapping[str, AgentDefined] | None = None,
    alive: Collection[str] | None = None,
    options: RunOptions | None = None,
    limits: Limits = DEFAULT_LIMITS,
    known: Collection[str] | None = None,
) -> list[Problem]:
    """List everything that is wrong with a plan of the right shape; empty when all is well.

    `known` are the ids that count as existing, where the plan is only the readable part of one.
    """
    if len(plan.steps) > limits.steps:
        return list(_count_problems(len(plan.steps), limits))
    problems = chain(
        checks.parallel_problems(options, limits.max_parallel),
        budget.budget_problems(options),
        checks.no_steps(plan) if known is None else (),
        checks.duplicates(plan),
        checks.cycles(plan),
        checks.step_problems(plan, known, agents, alive),
    )
    listed = list(islice(problems, PROBLEMS_LISTED))
    if len(listed) == PROBLEMS_LISTED and next(problems, None) is not None:
        listed.append(_MORE)
    return listed


# -- size and shape ----------------------------------------------------------------------------


def _size_problems(data: Any, limits: Limits) -> Iterator[Problem]:
    steps = data.get("steps") if isinstance(data, dict) else None
    if isinstance(steps, list) and len(steps) > limits.steps:
        yield from _count_problems(len(steps), limits)
        return
    try:
        size = len(json.dumps(data, default=str, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        yield Problem(
            code="not_json",
            message=f"the plan cannot be written as JSON: {str(error)[:_EXCERPT]}",
            remedy="use texts, numbers, true, false, null, and lists and objects of these",
        )
        return
    if size > limits.size_bytes:
        yield Problem(
            code="too_large",
            field="steps",
            message=f"the plan is {size:,} bytes large; the limit is {limits.size_bytes:,}",
            remedy="pass large inputs by reference, or split the plan",
        )


def _count_problems(count: int, limits: Limits) -> Iterator[Problem]:
    yield Problem(
        code="too_many_steps",
        field="steps",
        message=f"the plan has {count:,} steps; the limit is {limits.steps:,}",
        remedy="split the work over several runs, or let one step do more",
    )


def _raw_steps(data: Any) -> list[dict[str, Any]]:
    steps = data.get("steps") if isinstance(data, dict) else None
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _readable_part(data: Any) -> Plan:
    """Keep the steps that have the right shape, so that their problems are found as well."""
    steps = []
    for raw in _raw_steps(data):
        with suppress(ValidationError):
            steps.append(Step.model_validate(raw))
    return Plan.model_construct(steps=steps)


_SAID = {"model_type": "it has to be an object, with its fields by name"}


def _shape_problem(error: Any, data: Any) -> Problem:
    location = list(error["loc"])
    step = None
    if len(location) > 1 and location[0] == "steps" and isinstance(location[1], int):
        found = data["steps"][location[1]]
        step = str(found.get("id")) if isinstance(found, dict) else f"#{location[1]}"
        location = location[2:]
    field = ".".join(str(part) for part in location) or None
    given = error.get("input")
    if location[:1] == ["depends_on"] and isinstance(given, str) and given.startswith("#"):
        return _no_such_index(step, given, len(data["steps"]))
    message = _SAID.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return Problem(
        code="missing_field" if error["type"] == "missing" else "bad_field",
        step=step,
        field=field,
        message=message[0].lower() + message[1:],
        remedy=_shape_remedy(error, field),
    )


def _shape_remedy(error: Any, field: str | None) -> str:
    if error["type"] == "missing":
        return f"give {field!r} a value"
    given = repr(error.get("input"))
    return f"got {given[:_EXCERPT]}; see schemas/plan_created for what is allowed"


def _no_such_index(step: str | None, given: str, count: int) -> Problem:
    return Problem(
        code="unknown_dependency",
        step=step,
        field="depends_on",
        message=f"there is no step with the index {given[1:]}",
        remedy=f"count steps from 0 to {count - 1}, or name them by their ids",
    )
