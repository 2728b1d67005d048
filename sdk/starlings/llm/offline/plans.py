"""Make a plan of a request: a step per thing asked for, parallel where nothing has to wait."""

from __future__ import annotations

from typing import Any

from starlings.llm.prompts import AgentLines

from .calls import fits
from .expressions import NotUnderstood, Operation, Reference, Value
from .grammar import Clause, parse
from .operations import AGENT_NAMES, OPERATIONS
from .resolution import Earlier, Memory, references
from .wording import say


def make_plan(request: str, agents: list[AgentLines]) -> list[dict[str, Any]]:
    """Return the steps for a request.

    Raises:
        NotUnderstood: a part of it is beyond the rules, or no agent here does it.
    """
    planner = _Planner(agents)
    for clause in parse(request):
        planner.add(clause)
    return planner.steps


class _Planner:
    def __init__(self, agents: list[AgentLines]) -> None:
        self._agents = agents
        self._memory = Memory()
        self.steps: list[dict[str, Any]] = []

    def add(self, clause: Clause) -> None:
        """Add the steps of one clause."""
        operation = self._memory.resolve(clause.value)
        step_id = self._add_step(operation, clause.text)
        known = OPERATIONS[operation.name]
        self._memory.remember(Earlier(step_id, known.area, known.name))

    def _add_step(self, operation: Operation, wording: str = "") -> str:
        agent = self._agent_for(operation.name)
        whole = self._keep_to_one_agent(operation, agent)
        waits_for = list(dict.fromkeys(ref.what.removeprefix("step:") for ref in references(whole)))
        step = {
            "id": f"s{len(self.steps) + 1}",
            "agent": agent,
            "task": say(whole) if waits_for or not wording else wording,
            "depends_on": waits_for,
        }
        self.steps.append(step)
        return str(step["id"])

    def _keep_to_one_agent(self, operation: Operation, agent: str) -> Operation:
        """Give nested operations steps of their own, unless the same agent can do them in a row."""
        nested = [operand for operand in operation.operands if isinstance(operand, Operation)]
        in_a_row = len(nested) == 1 and self._agent_for(nested[0].name) == agent
        operands: list[Value] = []
        for operand in operation.operands:
            if not isinstance(operand, Operation):
                operands.append(operand)
            elif in_a_row:
                operands.append(self._keep_to_one_agent(operand, agent))
            else:
                operands.append(Reference(f"step:{self._add_step(operand)}"))
        return Operation(operation.name, tuple(operands))

    def _agent_for(self, name: str) -> str:
        known = OPERATIONS[name]
        for tool in known.tools:
            for agent in self._agents:
                if any(fits(line, tool, known) for line in agent.tools):
                    return agent.name
        for agent in self._agents:
            if not agent.tools and agent.name in AGENT_NAMES[known.area]:
                return agent.name
        wanted = f"{known.area.value} agent with a tool such as {known.tools[0]!r}"
        raise NotUnderstood(f"{name!r} without an agent for it (there is no {wanted} here)")
