"""What a stop covers: generations, attempts, and tries to undo them."""

from __future__ import annotations

import pytest

from starlings.agents import stops as module
from starlings.agents.stops import Stops
from starlings.messages import CompensationReady, StepReady, StopRequested


def attempt(step="s1", number=1, generation=0, run="r1"):
    return StepReady(
        run_id=run, step_id=step, attempt=number, agent="a", generation=generation
    )  # fmt: skip


def a_try(step="s1", number=1, run="r1", attempt=1):
    return CompensationReady(run_id=run, step_id=step, attempt=attempt, number=number, agent="a")


@pytest.fixture
def stops():
    return Stops()


def stop(run="r1", **more):
    return StopRequested(run_id=run, **more)


def test_a_stop_of_a_run_covers_its_attempts_and_no_others(stops):
    stops.add(stop())
    assert stops.covers(attempt())
    assert stops.covers(attempt(number=9))
    assert not stops.covers(attempt(run="r2"))


def test_a_stop_covers_no_later_generation_of_the_run(stops):
    stops.add(stop(generation=1))
    assert stops.covers(attempt(generation=0))
    assert stops.covers(attempt(generation=1))
    assert not stops.covers(attempt(generation=2))
    stops.add(stop(generation=0))  # an older word, heard again
    assert stops.covers(attempt(generation=1))


def test_a_stop_of_attempts_covers_those_up_to_it_in_their_generation(stops):
    stops.add(stop(attempts={"s1": 2}))
    stops.add(stop(attempts={"s1": 1}, generation=1))
    assert stops.covers(attempt(number=2))
    assert not stops.covers(attempt(number=3))
    assert not stops.covers(attempt(step="s2"))
    assert stops.covers(attempt(number=1, generation=1))
    assert not stops.covers(attempt(number=2, generation=1))


def test_later_words_add_to_earlier_ones(stops):
    stops.add(stop(attempts={"s1": 2}))
    stops.add(stop(attempts={"s1": 1, "s2": 1}))
    assert stops.covers(attempt(number=2))
    assert stops.covers(attempt(step="s2"))


def test_compensations_are_covered_by_their_own_stops_only(stops):
    stops.add(stop())
    stops.add(stop(attempts={"s1": 9}))
    stops.add(stop(compensation=True))  # names none
    assert not stops.covers(a_try())
    stops.add(stop(attempts={"s1": 2}, compensation=True))
    stops.add(stop(attempts={"s1": 1}, compensation=True))
    assert stops.covers(a_try(number=2))
    assert not stops.covers(a_try(number=3))
    assert not stops.covers(a_try(step="s2"))


def test_a_stop_of_tries_covers_none_that_undo_another_attempt(stops):
    stops.add(stop(attempts={"s1": 2}, compensation=True, undoing=1))
    assert stops.covers(a_try(number=2))
    assert not stops.covers(a_try(number=1, attempt=2))
    stops.add(stop(attempts={"s1": 1}, compensation=True, undoing=2))
    assert stops.covers(a_try(number=1, attempt=2))
    assert stops.covers(a_try(number=2))


def test_a_stop_of_tries_covers_no_attempt(stops):
    stops.add(stop(attempts={"s1": 2}, compensation=True))
    assert not stops.covers(attempt())


def test_the_runs_told_longest_ago_are_forgotten(stops, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for run in ("r1", "r2", "r1", "r3"):
        stops.add(stop(run))
    assert [stops.covers(attempt(run=run)) for run in ("r1", "r2", "r3")] == [True, False, True]
