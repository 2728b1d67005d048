"""The forms in which people and models write plans."""

from __future__ import annotations

import pytest

from starlings.messages import Plan
from starlings.messages.plan import normalise_plan


def dependencies(*steps):
    plan = Plan.model_validate({"steps": [{"agent": "math", "task": "t", **s} for s in steps]})
    return {step.id: step.depends_on for step in plan.steps}


def test_indices_from_zero_become_ids():
    found = dependencies({}, {}, {"dependencies": [0, 1]})
    assert found == {"s1": [], "s2": [], "s3": ["s1", "s2"]}


def test_numbers_that_are_ids_of_steps_mean_those_ids():
    assert dependencies({"id": 1}, {"id": 2, "depends_on": [1]}) == {"1": [], "2": ["1"]}


def test_numbers_beside_other_ids_are_indices():
    assert dependencies({"id": "a"}, {"id": "b", "depends_on": [0]}) == {"a": [], "b": ["a"]}


def test_a_number_that_is_no_step_stays_recognisable():
    (step,) = normalise_plan({"steps": [{"id": "a", "depends_on": [7]}]})["steps"]
    assert step["depends_on"] == ["#7"]


@pytest.mark.parametrize("nothing", [None, []])
def test_no_dependencies_may_be_written_as_null_or_an_empty_list(nothing):
    assert dependencies({"depends_on": nothing}) == {"s1": []}
