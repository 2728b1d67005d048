"""Does a plan make sense? Every problem at once, each with its step, field, code and remedy.

`parse_plan` takes whatever a client or a model wrote; `check_plan` looks at a plan that has the
right shape. Neither stops at the first problem: people and models mend faster with the whole list.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from starlings.messages.errors import PlanInvalid, Problem
from starlings.messages.plan import Plan, RunOptions, Step, normalise_plan
from starlings.messages.registry import AgentDefined, ToolDefinition

from .context import references

_NAMES_SHOWN = 8
_CYCLES_SHOWN = 5


@dataclass(frozen=True)
class Limits:
    """How large a plan may be."""

    steps: int = 10_000
    size_bytes: int = 8 * 1024 * 1024
    max_parallel: int = 10_000


DEFAULT_LIMITS = Limits()


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
    data = normalise_plan(data)
    too_big = list(_size_problems(data, limits))
    if too_big:  # looking closer would cost what the limit protects from
        raise PlanInvalid(too_big)
    known: set[Any] | None = None
    problems: list[Problem] = []
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        problems = [_shape_problem(e, data) for e in error.errors()]
        plan = _readable_part(data)
        known = {step.get("id") for step in _raw_steps(data)}
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
    known: Collection[Any] | None = None,
) -> list[Problem]:
    """List everything that is wrong with a plan of the right shape; empty when all is well.

    `known` are the ids that count as existing, where the plan is only the readable part of one.
    """
    if len(plan.steps) > limits.steps:
        return list(_count_problems(len(plan.steps), limits))
    problems = [*_parallel_problems(options, limits), *_duplicates(plan)]
    if not plan.steps and not known:
        problems.append(
            Problem(code="no_steps", message="the plan has no steps", remedy="add a step")
        )
    known = known or {step.id for step in plan.steps}
    for step in plan.steps:
        problems += _task_problems(step)
        problems += _dependency_problems(step, known)
        problems += _reference_problems(step)
        if agents is not None:
            problems += _agent_problems(step, agents, alive)
    problems += _cycles(plan)
    return problems


# -- size and shape ----------------------------------------------------------------------------


def _size_problems(data: Any, limits: Limits) -> Iterator[Problem]:
    steps = data.get("steps") if isinstance(data, dict) else None
    if isinstance(steps, list) and len(steps) > limits.steps:
        yield from _count_problems(len(steps), limits)
        return
    size = len(json.dumps(data, default=str))
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


def _shape_problem(error: Any, data: Any) -> Problem:
    location = list(error["loc"])
    step = None
    if len(location) > 1 and location[0] == "steps" and isinstance(location[1], int):
        found = data["steps"][location[1]]
        step = str(found.get("id")) if isinstance(found, dict) else f"#{location[1]}"
        location = location[2:]
    field = ".".join(str(part) for part in location) or None
    message = error["msg"].removeprefix("Value error, ")
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
    return f"got {given[:80]}; see schemas/plan_created for what is allowed"


# -- one step ----------------------------------------------------------------------------------


def _task_problems(step: Step) -> Iterator[Problem]:
    if not step.task.strip() and step.tool is None and step.input is None:
        yield Problem(
            code="empty_task",
            step=step.id,
            field="task",
            message="the task is empty",
            remedy="say in words what the agent shall do, or give an input or a tool",
        )
    if step.args is not None and step.tool is None:
        yield Problem(
            code="args_without_tool",
            step=step.id,
            field="args",
            message="there are arguments, but no tool",
            remedy="name the tool, or move the arguments into input",
        )


def _dependency_problems(step: Step, known: Collection[str]) -> Iterator[Problem]:
    for dependency in dict.fromkeys(step.depends_on):
        if dependency == step.id:
            yield Problem(
                code="self_dependency",
                step=step.id,
                field="depends_on",
                message="the step depends on itself",
                remedy=f"remove {dependency!r} from its depends_on",
            )
        elif dependency not in known:
            yield Problem(
                code="unknown_dependency",
                step=step.id,
                field="depends_on",
                message=f"there is no step {dependency!r}",
                remedy=f"use one of {_some(set(known) - {step.id})}",
            )


def _reference_problems(step: Step) -> Iterator[Problem]:
    for name in dict.fromkeys(references([step.task, step.input, step.args])):
        if name not in step.depends_on:
            yield Problem(
                code="reference_without_dependency",
                step=step.id,
                field="task",
                message=f"a template refers to step {name!r}, on which this step does not depend",
                remedy=f"add {name!r} to its depends_on",
            )


def _agent_problems(
    step: Step, agents: Mapping[str, AgentDefined], alive: Collection[str] | None
) -> Iterator[Problem]:
    agent = agents.get(step.agent)
    if agent is None:
        yield Problem(
            code="unknown_agent",
            step=step.id,
            field="agent",
            message=f"there is no agent {step.agent!r}",
            remedy=f"use one of {_some(agents)}" if agents else "start an agent first",
        )
        return
    if alive is not None and step.agent not in alive and not agent.scales_from_zero:
        yield Problem(
            code="agent_not_alive",
            step=step.id,
            field="agent",
            message=f"no instance of agent {step.agent!r} is alive",
            remedy="start one, or define the agent with scales_from_zero",
        )
    if step.tool is not None:
        yield from _tool_problems(step, agent)


def _tool_problems(step: Step, agent: AgentDefined) -> Iterator[Problem]:
    tool = next((t for t in agent.tools if t.name == step.tool), None)
    if tool is None:
        yield Problem(
            code="unknown_tool",
            step=step.id,
            field="tool",
            message=f"agent {agent.agent!r} has no tool {step.tool!r}",
            remedy=f"use one of {_some(t.name for t in agent.tools)}",
        )
        return
    yield from _argument_problems(step, tool)


def _argument_problems(step: Step, tool: ToolDefinition) -> Iterator[Problem]:
    known = tool.parameters.get("properties", {})
    given = step.args or {}
    if tool.parameters.get("additionalProperties") is not True:
        for name in given:
            if name not in known:
                yield Problem(
                    code="unknown_argument",
                    step=step.id,
                    field=f"args.{name}",
                    message=f"tool {tool.name!r} has no argument {name!r}",
                    remedy=f"use one of {_some(known)}",
                )
    for name in tool.parameters.get("required", []):
        if name not in given:
            yield Problem(
                code="missing_argument",
                step=step.id,
                field=f"args.{name}",
                message=f"tool {tool.name!r} needs the argument {name!r}",
                remedy=f"give args.{name} a value",
            )


# -- the whole plan ----------------------------------------------------------------------------


def _parallel_problems(options: RunOptions | None, limits: Limits) -> Iterator[Problem]:
    if options is None or options.max_parallel is None:
        return
    if not 1 <= options.max_parallel <= limits.max_parallel:
        yield Problem(
            code="bad_parallelism",
            field="max_parallel",
            message=f"max_parallel is {options.max_parallel}",
            remedy=f"choose a number from 1 to {limits.max_parallel:,}, or leave it out",
        )


def _duplicates(plan: Plan) -> Iterator[Problem]:
    for name, count in Counter(step.id for step in plan.steps).items():
        if count > 1:
            yield Problem(
                code="duplicate_id",
                step=name,
                field="id",
                message=f"{count} steps have the id {name!r}",
                remedy="give every step an id of its own",
            )


def _cycles(plan: Plan) -> Iterator[Problem]:
    """Find cycles: peel off what has no open dependency; what stays lies on or behind one."""
    graph = {step.id: set(step.depends_on) - {step.id} for step in plan.steps}
    graph = {name: {d for d in deps if d in graph} for name, deps in graph.items()}
    dependents: dict[str, list[str]] = {name: [] for name in graph}
    for name, deps in graph.items():
        for dependency in deps:
            dependents[dependency].append(name)
    free = [name for name, deps in graph.items() if not deps]
    left = {name: len(deps) for name, deps in graph.items() if deps}
    while free:
        for name in dependents[free.pop()]:
            left[name] -= 1
            if not left[name]:
                del left[name]
                free.append(name)
    for cycle in _walk_cycles(graph, left):
        path = " → ".join([*cycle, cycle[0]])
        yield Problem(
            code="cycle",
            step=cycle[0],
            field="depends_on",
            message=f"steps wait for each other: {path}",
            remedy="remove one of these dependencies",
        )


def _walk_cycles(graph: Mapping[str, set[str]], left: Mapping[str, int]) -> Iterator[list[str]]:
    seen: set[str] = set()
    shown = 0
    for start in left:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in seen and name not in path:
            path[name] = None
            name = next((d for d in sorted(graph[name]) if d in left), None)
        if name is not None and name in path and shown < _CYCLES_SHOWN:
            shown += 1
            cycle = list(path)[list(path).index(name) :]
            yield cycle[::-1]  # in the order of work: each waits for the one before it
        seen.update(path)


def _some(names: Any) -> str:
    listed = sorted(names)
    shown = ", ".join(listed[:_NAMES_SHOWN])
    more = len(listed) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown or "nothing"
