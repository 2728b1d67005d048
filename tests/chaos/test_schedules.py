"""A seed decides about everything that is done to the system."""

from __future__ import annotations

import itertools

import pytest
from support.chaos import workload
from support.chaos.agent import Work
from support.chaos.schedules import BOUNDED, FULL, SCENARIOS, dice
from support.chaos.stage import Stage

from starlings.choreography import parse_plan

BY_NAME = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@BY_NAME
@pytest.mark.parametrize("size", [BOUNDED, FULL], ids=["bounded", "full"])
def test_the_same_seed_gives_the_same_schedule_and_another_one_another(scenario, size):
    schedules = [scenario.schedule(dice(seed, scenario.name), size) for seed in (7, 7, 8)]
    assert schedules[0] == schedules[1] != schedules[2]


@BY_NAME
def test_a_schedule_is_in_order_and_every_act_can_be_done(scenario):
    schedule = scenario.schedule(dice(1, scenario.name), FULL)
    assert all(hasattr(Stage, act.verb) for act in schedule)
    assert all(earlier.at_s <= later.at_s for earlier, later in itertools.pairwise(schedule))


@pytest.mark.parametrize("shape", workload.SHAPES)
def test_the_same_seed_asks_for_the_same_plan(shape):
    asked = [shape(dice(seed, "load"), "r") for seed in (7, 7)]
    assert asked[0] == asked[1]
    plan = parse_plan(asked[0].request.plan)
    assert all(Work.model_validate(step.input) for step in plan.steps)
