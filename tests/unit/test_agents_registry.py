"""Who counts as known, as alive and as gone."""

from __future__ import annotations

import pytest

from starlings.agents.registry import Registry
from starlings.kafka.hearing import HearingClock
from starlings.messages import AgentAlive, AgentDefined


class Clocks:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def registry(clocks):
    registry = Registry(monotonic=clocks, wall=clocks)
    registry.define(AgentDefined(agent="math", description="Arithmetic"))
    return registry


def beat(registry, instance="one", **kwargs):
    registry.beat(AgentAlive(agent="math", instance=instance, interval_s=5), **kwargs)


def test_an_agent_without_instances_is_known_but_not_alive(registry):
    assert set(registry.agents) == {"math"}
    assert registry.alive() == set()


def test_an_instance_is_alive_for_three_of_its_intervals(registry, clocks):
    beat(registry)
    clocks.now += 15
    assert registry.alive() == {"math"}
    clocks.now += 0.1
    assert registry.alive() == set()


def test_silence_counts_only_while_something_could_be_heard(clocks):
    hearing = HearingClock(clocks)
    registry = Registry(monotonic=clocks, wall=clocks, hearing=hearing)
    beat(registry)
    clocks.now += 60  # Kafka is away
    assert registry.alive() == {"math"}
    hearing.answered()
    assert registry.alive() == {"math"}  # it may take a while to say that it is there
    for _ in range(15):
        clocks.now += 1
        hearing.answered()
    assert registry.alive() == set()


def test_a_heartbeat_found_lying_counts_from_when_it_was_sent(registry, clocks):
    beat(registry, sent_ms=int((clocks.now - 60) * 1000))
    assert registry.alive() == set()


def test_a_heartbeat_sent_by_a_clock_that_is_ahead_counts_as_new(registry, clocks):
    beat(registry, sent_ms=int((clocks.now + 60) * 1000))
    assert registry.alive() == {"math"}


def test_an_instance_that_leaves_is_gone_at_once_and_the_definition_stays(registry):
    beat(registry)
    registry.forget("math/one")
    assert registry.alive() == set()
    assert set(registry.agents) == {"math"}


def test_a_definition_can_be_taken_back(registry):
    registry.forget("math")
    assert registry.agents == {}


def test_only_instances_not_seen_for_long_are_listed_as_gone(registry, clocks):
    beat(registry, "old")
    clocks.now += 3_000
    beat(registry, "new")
    clocks.now += 601
    assert [alive.instance for alive in registry.gone(3_600)] == ["old"]
