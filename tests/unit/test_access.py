"""What each program may do: small rights, and what somebody lacks told name by name."""

from __future__ import annotations

from starlings.messages import AgentDefined, Topics
from starlings.messages.access import (
    Operation,
    Resource,
    Right,
    lacking,
    rights_of_agent,
    rights_of_client,
    rights_of_coordinator,
    rights_of_planner,
    rights_of_watcher,
)

TOPICS = Topics("acme.")
MATH = AgentDefined(agent="math")


def may_write(rights: list[Right], topic: str) -> bool:
    covering = [right for right in rights if right.covers(Resource.TOPIC, topic)]
    return any(Operation.WRITE in right.operations for right in covering)


def test_the_coordinator_writes_to_requests_too_for_it_has_runs_planned_anew():
    assert may_write(rights_of_coordinator(TOPICS), "acme.requests")
    assert may_write(rights_of_coordinator(TOPICS), "acme.steps.any.variant")


def test_an_agent_may_neither_give_work_nor_touch_what_others_remember():
    rights = rights_of_agent(TOPICS, MATH)
    assert not may_write(rights, "acme.steps.math")
    assert not may_write(rights, "acme.checkpoints.string")
    assert not may_write(rights, "acme.requests")
    assert not may_write(rights, "acme.control")


def test_a_variant_hears_of_no_events_and_has_topics_and_a_group_of_its_own():
    shop = AgentDefined(agent="shop", listens=["paid"], emits=["sent"])
    usual = {right.name for right in rights_of_agent(TOPICS, shop)}
    large = {right.name for right in rights_of_agent(TOPICS, shop, "large")}
    assert {"acme.facts.paid", "acme.agent.shop.on.paid", "acme.steps.shop"} <= usual
    assert {"acme.steps.shop.large", "acme.agent.shop.large", "acme.facts.sent"} <= large
    assert not {"acme.facts.paid", "acme.agent.shop.on.paid", "acme.steps.shop"} & large


def test_nobody_s_rights_reach_beyond_the_prefix_of_the_installation():
    everybody = [
        *rights_of_planner(TOPICS),
        *rights_of_coordinator(TOPICS),
        *rights_of_client(TOPICS),
        *rights_of_watcher(TOPICS),
        *rights_of_agent(TOPICS, MATH),
    ]
    assert all(right.name.startswith("acme.") for right in everybody)


def test_what_is_lacking_is_told_by_name_and_operation():
    needed = [Right(Resource.TOPIC, "t", (Operation.READ, Operation.WRITE))]
    had = [
        Right(Resource.TOPIC, "t", (Operation.READ,)),
        Right(Resource.GROUP, "t", (Operation.WRITE,)),
    ]
    assert lacking(needed, had) == [Right(Resource.TOPIC, "t", (Operation.WRITE,))]
    assert lacking(needed, [Right(Resource.TOPIC, "", tuple(Operation), prefixed=True)]) == []
