"""What can be wrong with a plan that has the right shape: each check yields its problems."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

from starlings.messages.errors import Problem
from starlings.messages.plan import WAITING_AGENTS, Compensation, Plan, RunOptions, Step
from starlings.messages.registry import AgentDefined, ToolDefinition

from .context import references
from .flow_checks import flow_problems, reference_without_dependency

_NAMES_SHOWN = 8
_CYCLES_SHOWN = 5
_CYCLE_ENDS_SHOWN = 10


def step_problems(
    plan: Plan,
    known: Collection[str] | None,
    agents: Mapping[str, AgentDefined] | None,
    alive: Collection[str] | None,
) -> Iterator[Problem]:
    """Look at one step after the other."""
    names = _Names({step.id for step in plan.steps} if known is None else known)
    for step in plan.steps:
        yield from _waiting_problems(step) if _waits(step) else _task_problems(step)
        yield from _dependency_problems(step, names)
        yield from _reference_problems(step)
        yield from flow_problems(step)
        if agents is not None and not _waits(step):
            yield from _agent_problems(step, agents, alive)
        if agents is not None and step.compensate is not None:
            yield from _compensation_problems(step, step.compensate, agents)


# -- one step ----------------------------------------------------------------------------------


def _waits(step: Step) -> bool:
    """Whether the coordinator does the step: it waits for an approval or a signal."""
    return step.approval is not None or step.signal is not None


def _waiting_problems(step: Step) -> Iterator[Problem]:
    waits_for = [name for name in WAITING_AGENTS if getattr(step, name) is not None]
    if len(waits_for) > 1:
        yield Problem(
            code="waits_for_two",
            step=step.id,
            field="signal",
            message="the step waits for an approval and for a signal",
            remedy="make two steps of it",
        )
    meant = [name for name, agent in WAITING_AGENTS.items() if agent == step.agent]
    if not meant:
        yield Problem(
            code="waits_and_works",
            step=step.id,
            field="agent",
            message=f"the step waits ({waits_for[0]}) and has the agent {step.agent!r}",
            remedy="leave the agent out, or make two steps of it",
        )


def _compensation_problems(
    step: Step, compensation: Compensation, agents: Mapping[str, AgentDefined]
) -> Iterator[Problem]:
    agent = agents.get(compensation.agent)
    if agent is None:
        yield _unknown_agent(step, compensation, agents, at="compensate.")
    elif compensation.tool is not None:
        yield from _tool_problems(step, compensation, agent, at="compensate.")
    elif not agent.compensates:
        yield Problem(
            code="no_compensation",
            step=step.id,
            field="compensate.agent",
            message=f"agent {compensation.agent!r} has no compensation of its own",
            remedy="name a tool of it, or give it one with @agent.compensate",
        )


def _unknown_agent(
    step: Step, work: Step | Compensation, agents: Mapping[str, AgentDefined], *, at: str = ""
) -> Problem:
    return Problem(
        code="unknown_agent",
        step=step.id,
        field=f"{at}agent",
        message=f"there is no agent {work.agent!r}",
        remedy=_Names(agents).suggest() if agents else "start an agent first",
    )


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


def _dependency_problems(step: Step, known: _Names) -> Iterator[Problem]:
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
                remedy=known.suggest(step.id),
            )


def _reference_problems(step: Step) -> Iterator[Problem]:
    if "{{" not in step.task and step.input is None and step.args is None:
        return  # as most are
    known = set(step.depends_on)
    for field in ("task", "input", "args"):
        value = getattr(step, field)
        for name in dict.fromkeys(references(value)) if value is not None else ():
            if name not in known:
                yield reference_without_dependency(step, field, name)


def _agent_problems(
    step: Step, agents: Mapping[str, AgentDefined], alive: Collection[str] | None
) -> Iterator[Problem]:
    agent = agents.get(step.agent)
    if agent is None:
        yield _unknown_agent(step, step, agents)
        return
    if not agent.takes_steps:
        yield Problem(
            code="takes_no_steps",
            step=step.id,
            field="agent",
            message=f"agent {step.agent!r} reacts to events and takes no steps",
            remedy=_Names([name for name, a in agents.items() if a.takes_steps]).suggest(),
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
        yield from _tool_problems(step, step, agent)


def _tool_problems(
    step: Step, work: Step | Compensation, agent: AgentDefined, *, at: str = ""
) -> Iterator[Problem]:
    """Look at the tool that a step, or what undoes it (`at` is where), names."""
    tool = next((t for t in agent.tools if t.name == work.tool), None)
    if tool is None:
        yield Problem(
            code="unknown_tool",
            step=step.id,
            field=f"{at}tool",
            message=f"agent {agent.agent!r} has no tool {work.tool!r}",
            remedy=_Names([t.name for t in agent.tools]).suggest(),
        )
        return
    yield from _argument_problems(step, work.args or {}, tool, at=at)


def _argument_problems(
    step: Step, given: Mapping[str, Any], tool: ToolDefinition, *, at: str
) -> Iterator[Problem]:
    known = tool.parameters.get("properties") or {}
    if tool.parameters.get("additionalProperties") is not True:
        for name in given:
            if name not in known:
                yield Problem(
                    code="unknown_argument",
                    step=step.id,
                    field=f"{at}args.{name}",
                    message=f"tool {tool.name!r} has no argument {name!r}",
                    remedy=_Names(known).suggest(),
                )
    for name in tool.parameters.get("required") or []:
        if name not in given:
            yield Problem(
                code="missing_argument",
                step=step.id,
                field=f"{at}args.{name}",
                message=f"tool {tool.name!r} needs the argument {name!r}",
                remedy=f"give {at}args.{name} a value",
            )


# -- the whole plan ----------------------------------------------------------------------------


def no_steps(plan: Plan) -> Iterator[Problem]:
    """A plan without steps does nothing."""
    if not plan.steps:
        yield Problem(code="no_steps", message="the plan has no steps", remedy="add a step")


def parallel_problems(options: RunOptions | None, most: int) -> Iterator[Problem]:
    """Look at the run's own limit of steps at once; `most` is the highest allowed."""
    if options is None or options.max_parallel is None:
        return
    if not 1 <= options.max_parallel <= most:
        yield Problem(
            code="bad_parallelism",
            field="max_parallel",
            message=f"max_parallel is {options.max_parallel}",
            remedy=f"choose a number from 1 to {most:,}, or leave it out",
        )


def duplicates(plan: Plan) -> Iterator[Problem]:
    """Find ids that more than one step has."""
    for name, count in Counter(step.id for step in plan.steps).items():
        if count > 1:
            yield Problem(
                code="duplicate_id",
                step=name,
                field="id",
                message=f"{count} steps have the id {name!r}",
                remedy="give every step an id of its own",
            )


def cycles(plan: Plan) -> Iterator[Problem]:
    """Find cycles: peel off what has no open dependency; what stays lies on or behind one."""
    if _in_order_of_work(plan):
        return
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
        path = " → ".join(_ends([*cycle, cycle[0]]))
        yield Problem(
            code="cycle",
            step=cycle[0],
            field="depends_on",
            message=f"steps wait for each other: {path}",
            remedy="remove one of these dependencies",
        )


def _in_order_of_work(plan: Plan) -> bool:
    """Whether each step stands behind all that it depends on, as in most plans."""
    before: set[str] = set()
    for step in plan.steps:
        if not before.issuperset(step.depends_on):
            return False
        before.add(step.id)
    return True


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


def _ends(names: list[str]) -> list[str]:
    """Keep both ends of a long list."""
    left_out = len(names) - 2 * _CYCLE_ENDS_SHOWN
    if left_out <= 1:
        return names
    return [*names[:_CYCLE_ENDS_SHOWN], f"({left_out:,} more)", *names[-_CYCLE_ENDS_SHOWN:]]


class _Names:
    """Names that somebody could have meant, sorted once however often they are suggested."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @cached_property
    def _first(self) -> list[str]:
        return heapq.nsmallest(_NAMES_SHOWN + 1, self._names)

    def suggest(self, but: str = "") -> str:
        """Say which name could be used, other than this one."""
        shown = [n for n in self._first if n != but][:_NAMES_SHOWN]
        more = len(self._names) - (but in self._names) - len(shown)
        if not shown:
            return "leave it out: there is none to choose from"
        return f"use one of {', '.join(shown)}" + (f" and {more:,} more" if more > 0 else "")
