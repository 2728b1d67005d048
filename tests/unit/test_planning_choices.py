"""What the planner writes into a plan beside its steps, and what it refuses."""

from __future__ import annotations

import pytest

from starlings import Agent, ResourceExhausted, RetryPolicy
from starlings.agents.registry import Registry
from starlings.messages import (
    AgentAlive,
    AgentDefined,
    ConfigError,
    Plan,
    PlanCreated,
    PlanRejected,
    RunRequested,
    error_info,
)
from starlings.planning import Planner, with_retries
from starlings.service import load_settings

FIVE, TWO = RetryPolicy(attempts=5), RetryPolicy(attempts=2)
AGENTS = {
    "a": AgentDefined(agent="a", retry=FIVE),
    "b": AgentDefined(agent="b"),
}
STEPS = [
    {"id": "1", "agent": "a", "task": "do"},
    {"id": "2", "agent": "a", "task": "do", "retry": TWO.model_dump()},
    {"id": "3", "agent": "b", "task": "do"},
    {"id": "4", "approval": {"question": "Well?"}},
]
PLAN = Plan(steps=STEPS)
ROUTING = {"a": {"canary": 0.1}, "elsewhere": {"canary": 0.5}}


async def planned(shares=None, **more):
    request = RunRequested(plan={"steps": STEPS}, **more)
    planner = Planner(None, routing=shares)  # no model is asked about a plan that is given
    return await planner.plan(request, run_id="r", agents=AGENTS, alive=set(AGENTS))


def test_steps_get_the_policy_of_their_agent_where_nobody_says_otherwise():
    plan = with_retries(PLAN, AGENTS, of_run=None)
    assert [step.retry for step in plan.steps] == [FIVE, TWO, None, None]


def test_a_policy_of_the_run_goes_before_those_of_agents():
    assert with_retries(PLAN, AGENTS, of_run=RetryPolicy()) == PLAN


async def test_the_planner_writes_both_into_the_plan():
    created = await planned(ROUTING)
    assert isinstance(created, PlanCreated)
    assert created.plan.steps[0].retry == FIVE
    assert created.options.routing == {"a": {"canary": 0.1}}  # of agents that the plan needs
    assert (await planned(retry=TWO)).plan.steps[0].retry is None


async def test_shares_of_a_request_go_before_those_of_the_setting():
    created = await planned(ROUTING, routing={"a": {"large": 1.0}})
    assert created.options.routing == {"a": {"large": 1.0}}


async def test_shares_of_more_than_all_are_refused():
    rejected = await planned(routing={"a": {"large": 0.7, "canary": 0.7}})
    assert isinstance(rejected, PlanRejected)
    assert [(p.code, p.field) for p in rejected.problems] == [("bad_routing", "routing.a")]


@pytest.mark.parametrize(
    "value", ['{"a": {"x": 2}}', '{"a": {"x": 0.6, "y": 0.6}}', '{"a": 1}', "{"], ids=str
)
def test_a_wrong_setting_ends_the_planner_at_its_start_and_is_named(monkeypatch, value):
    from starlings_planner.settings import PlannerSettings  # noqa: PLC0415 - of a service

    monkeypatch.setenv("STARLINGS_ROUTING", value)
    with pytest.raises(ConfigError, match=r"(?i)routing"):
        load_settings(PlannerSettings)


def test_an_agents_policy_is_part_of_its_definition():
    agent = Agent("a", description="Does", retry=FIVE)
    agent.step(lambda: None)
    assert agent.definition().retry == FIVE


def test_a_policy_that_is_none_is_refused_at_once():
    with pytest.raises(ConfigError, match="retry has to be a RetryPolicy"):
        Agent("a", description="Does", retry=3)  # type: ignore[arg-type]


def test_running_out_of_memory_has_a_code_of_its_own():
    raised = error_info(ResourceExhausted("8 GB are needed"))
    assert (raised.code, raised.retryable) == ("resource_exhausted", False)
    met = error_info(MemoryError())
    assert (met.code, met.retryable, met.message) == ("resource_exhausted", True, "MemoryError")


def test_an_agent_is_alive_by_its_usual_instances_alone():
    registry = Registry()
    registry.beat(AgentAlive(agent="a", variant="large", instance="i"))
    assert registry.alive() == set()
    assert [alive.variant for alive in registry.instances()] == ["large"]
