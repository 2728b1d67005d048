"""The hash of open runs: the same for whoever knows the same, another one for anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.partition import Reader, done, planned
from support.runs import BEGIN_MS, steps_of
from support.runs import step as step_of

from starlings.choreography import Run, begin, fold, snapshot, state_hash
from starlings.choreography.state_hash import (
    STEPS_AT_ONCE,
    canonical_state,
    is_in_slice,
    run_hash,
    slice_hash,
    slices_for,
)
from starlings.messages import Plan, PlanCreated, SignalReceived, StepDone, StepOutcome, Usage


def rich(run_id: str = "r") -> Run:
    """A run with something in every field that a hash might overlook."""
    steps = [
        step_of("a", input={"x": [1], "y": None}, retry={"attempts": 2}),
        step_of("b", timeouts={"queue_s": 3, "run_s": 9, "heartbeat_s": 1}),
        *steps_of("c<a"),
    ]
    plan = PlanCreated(
        run_id=run_id,
        request="please",
        plan=Plan(steps=steps),
        tags={"team": "one", "env": "two"},
        options={"timeout_s": 99},
    )
    run, _ = begin(plan, offset=7, at_ms=BEGIN_MS)
    result = StepDone(
        run_id=run_id,
        step_id="a",
        attempt=1,
        agent="math",
        outcome=StepOutcome.OK,
        output={"n": 1, "m": [1.5, "x"]},
        usage=Usage(calls=1, input_tokens=2, output_tokens=3),
    )
    fold(run, result, at_ms=BEGIN_MS + 1)
    fold(run, SignalReceived(run_id=run_id, name="go", payload={"k": 1}), at_ms=BEGIN_MS + 2)
    return run


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of all values that hold no others."""
    if isinstance(value, dict) and value:
        return [found for key, inner in value.items() for found in leaves(inner, (*path, key))]
    if isinstance(value, list) and value:
        return [found for n, inner in enumerate(value) for found in leaves(inner, (*path, n))]
    return [path]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, list | dict):  # that is empty
        return [["another"]] if isinstance(value, list) else {"another": 1}
    return value + 1 if isinstance(value, int | float) else "another"


@pytest.fixture
def saved(monkeypatch):
    """Let the hash see what a test says that was saved."""

    def hash_of_state(run: Run, state: dict[str, Any]) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(state_hash.snapshot, "save", lambda _: json.loads(json.dumps(state)))
            return run_hash(run)

    return hash_of_state


def test_any_field_of_a_run_makes_another_hash(saved):
    run = rich()
    state = json.loads(json.dumps(snapshot.save(run)))
    known = saved(run, state)
    assert known == run_hash(run)
    paths = leaves(state)
    assert len(paths) > 80
    for path in paths:
        other = json.loads(json.dumps(state))
        inner = other
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = changed(inner[path[-1]])
        assert saved(run, other) != known, path


def test_the_name_of_a_run_and_the_place_of_its_plan_count():
    assert run_hash(rich("r")) != run_hash(rich("q"))
    run = rich()
    known = run_hash(run)
    run.plan_offset += 1
    assert run_hash(run) != known


def test_the_order_in_which_things_came_about_does_not_count():
    run, other = rich(), rich()
    for name in ("owed", "timers", "undos", "tags", "usage"):
        kept = getattr(other, name)
        setattr(other, name, dict(reversed(kept.items())))
    assert list(run.timers) != list(other.timers)
    assert list(run.tags) != list(other.tags)
    assert canonical_state(run) == canonical_state(other)
    assert run_hash(run) == run_hash(other)


def test_a_run_that_was_carried_forward_has_the_hash_that_it_had():
    run = rich()
    state = json.loads(json.dumps(snapshot.save(run)))
    assert run_hash(snapshot.load("r", 7, state)) == run_hash(run)


def test_the_order_of_runs_does_not_count_and_each_of_them_does():
    runs = [rich(f"r{n}") for n in range(5)]
    whole = slice_hash(runs)
    assert slice_hash(reversed(runs)) == whole
    assert whole.runs == 5
    assert slice_hash(runs[1:]).value != whole.value
    assert slice_hash([*runs, runs[0]]).value != whole.value
    assert slice_hash([]) == ("0" * 32, 0, 0)


def test_slices_take_each_run_once_and_their_hashes_add_up():
    runs = [rich(f"r{n}") for n in range(20)]
    slices = [slice_hash(runs, number, 3) for number in range(3)]
    assert sum(found.runs for found in slices) == 20
    assert all(found.runs for found in slices)
    total = sum(int(found.value, 16) for found in slices) % (1 << 128)
    assert f"{total:032x}" == slice_hash(runs).value
    assert [n for n in range(3) if is_in_slice("r0", n, 3)] == [
        n for n in range(3) if slice_hash(runs[:1], n, 3).runs
    ]


def test_there_are_as_many_slices_as_steps_ask_for_and_long_runs_are_left_out():
    long = Reader()
    long.read(planned("long", *(f"s{n}" for n in range(STEPS_AT_ONCE + 1))))
    short = Reader()
    short.read(*(planned(f"r{n}", *(f"s{m}" for m in range(100))) for n in range(25)))
    runs = [*short.ledger.runs.values(), *long.ledger.runs.values()]
    assert slices_for([]) == 1
    assert slices_for(long.ledger.runs.values()) == 1
    assert slices_for(runs) == 3
    found = slice_hash(runs)
    assert (found.runs, found.left_out) == (25, 1)
    long.read(done("long", "s0"))
    assert slice_hash([*short.ledger.runs.values(), *long.ledger.runs.values()]) == found
