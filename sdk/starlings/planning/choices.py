"""What is chosen for a run beside its plan: retries of its agents, shares of variants.

They are written into the plan, so that every later decision is a function of the log alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from starlings.messages.errors import Problem
from starlings.messages.facts import PlanCreated
from starlings.messages.plan import Plan, RetryPolicy
from starlings.messages.registry import AgentDefined
from starlings.messages.requests import RunRequested

Routing = Mapping[str, Mapping[str, float]]
_ALL = 1.0 + 1e-9  # shares such as 0.1 + 0.2 + 0.7 are not exact


def with_retries(
    plan: Plan, agents: Mapping[str, AgentDefined], *, of_run: RetryPolicy | None
) -> Plan:
    """Give steps their agents' retry policies, where neither step nor run says otherwise."""
    if of_run is not None or not any(agent.retry for agent in agents.values()):
        return plan
    steps = [
        step.model_copy(update={"retry": agents[step.agent].retry})
        if step.retry is None and step.agent in agents
        else step
        for step in plan.steps
    ]
    return Plan.model_construct(steps=steps)  # checked already


def with_choices(
    created: PlanCreated,
    request: RunRequested,
    *,
    agents: Mapping[str, AgentDefined],
    routing: Routing,
) -> PlanCreated:
    """Write into a plan what was left open; shares of the request go before `routing`."""
    named = {step.agent for step in created.plan.steps}
    shares = {**routing, **(request.routing or {})}
    chosen = {agent: dict(of_agent) for agent, of_agent in shares.items() if agent in named}
    return created.model_copy(
        update={
            "plan": with_retries(created.plan, agents, of_run=request.retry),
            "options": created.options.model_copy(update={"routing": chosen}),
        }
    )


def routing_problems(routing: Routing) -> Iterator[Problem]:
    """Find agents whose variants are to get more than there is."""
    for agent, shares in routing.items():
        if sum(shares.values()) > _ALL:
            yield Problem(
                code="bad_routing",
                field=f"routing.{agent}",
                message=f"the shares of {agent!r} add up to {sum(shares.values()):g}",
                remedy="let them add up to 1 at most; what is left goes to the usual instances",
            )
