"""Chaos in small: two short scenarios of `make chaos`, on every run of the tests."""

from __future__ import annotations

import pytest
from support.chaos.play import play
from support.chaos.schedules import BOUNDED, SCENARIOS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 1


def scenario(name: str):
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


async def test_kills_and_repeats_of_everything_lose_and_double_nothing(kafka, tmp_path):
    verdict = await play(
        scenario("storm"), seed=SEED, size=BOUNDED, bootstrap=kafka.bootstrap, folder=tmp_path
    )
    assert not verdict.findings, verdict.report()
    assert verdict.figures.lost == 0
    assert verdict.figures.runs >= 10


async def test_a_zombie_changes_nothing(kafka, tmp_path):
    verdict = await play(
        scenario("zombie"), seed=SEED, size=BOUNDED, bootstrap=kafka.bootstrap, folder=tmp_path
    )
    assert not verdict.findings, verdict.report()
    assert (verdict.figures.lost, verdict.figures.again) == (0, 0)
