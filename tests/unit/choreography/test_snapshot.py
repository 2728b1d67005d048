"""A run carried forward is the run that was: saved, written as JSON, read back, equal."""

from __future__ import annotations

import json

import pytest
from support.recovery.coordinator import plain
from support.runs import (
    BEGIN_MS,
    CANCEL,
    Story,
    asks,
    failed,
    ok,
    progress,
    started,
    step,
    waits,
)
from support.sagas import Saga, did, not_undone

from starlings.choreography import DecisionKind, begin, message_for, snapshot
from starlings.messages import (
    InvariantBroken,
    PauseRequested,
    PlanRejected,
    Problem,
    RetryPolicy,
    SignalReceived,
    Timeouts,
    TimerKind,
    Usage,
)


def fresh():
    return Story(
        step("a", input={"x": [1]}, retry=RetryPolicy(attempts=2)),
        step("b", timeouts=Timeouts(queue_s=3, run_s=9, heartbeat_s=1)),
        step("c", "a", "b", on_failure="skip_dependents"),
        "d<c",
        "e",
        "f",
        "g",
        max_parallel=3,
        on_failure="continue",
        timeout_s=99,
        deadline="2030-01-01T00:00:00.123456+09:00",
    )


def advanced(*facts):
    story = fresh()
    story.tell(*facts, at_s=1)
    return story


def retried():
    story = advanced(failed("a", retryable=True))
    story.fire(TimerKind.RETRY, "a")
    return story


def ended():
    story = advanced(CANCEL)
    story.fire(TimerKind.SETTLE)
    return story


def compensating():
    saga = Saga("a", "b<a", "c<b", "d", max_parallel=2)
    saga.tell(did("a", 1), did("b", 2), ok("d"), failed("c"), not_undone("b", retryable=True))
    return saga


def abandoning():
    saga = Saga("a", "b", "c<a,b", asks("ok"), max_parallel=1)
    saga.tell(did("a"), did("b"), failed("c"), not_undone("b"))
    return saga


def asking():
    story = Story(asks("ok"), waits("paid", timeout_s=9), waits("late", "paid"), "b")
    story.tell(PauseRequested(run_id="r"), SignalReceived(run_id="r", name="other", payload=[1]))
    return story


STORIES = {
    "compensating": compensating,
    "abandoning": abandoning,
    "asking": asking,
    "fresh": fresh,
    "running": lambda: advanced(started("b"), progress("b")),
    "back-off": lambda: advanced(failed("a", retryable=True)),
    "retried": retried,
    "failed": lambda: advanced(failed("a"), ok("b", {"deep": [1, "é", None]})),
    "skipped": lambda: advanced(ok("a"), ok("b", usage=Usage(calls=1)), failed("c")),
    "stopping": lambda: advanced(started("b"), CANCEL),
    "ending": ended,
}


@pytest.mark.parametrize("name", STORIES)
def test_a_run_in_any_phase_comes_back_as_it_was(name):
    run = STORIES[name]().run
    state = json.loads(json.dumps(snapshot.save(run)))
    loaded = snapshot.load("r", 7, state)
    assert plain(loaded) == plain(run)
    assert json.loads(json.dumps(snapshot.save(loaded))) == state


@pytest.mark.parametrize("name", STORIES)
def test_a_run_that_came_back_goes_on_as_the_other_does(name):
    story, twin = STORIES[name](), STORIES[name]()
    twin.run = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(twin.run))))
    facts = [ok("a", 1), ok("b", 2), ok("e", attempt=1), failed("f"), ok("c", 3), CANCEL]
    for number, fact in enumerate(facts):
        assert story.tell(fact, at_s=number) == twin.tell(fact, at_s=number)
    assert plain(story.run) == plain(twin.run)
    messages = [
        [message_for(s.run, d) for d in s.run.owed.values() if d.kind is not DecisionKind.SKIP]
        for s in (story, twin)
    ]
    assert messages[0] == messages[1]


def test_a_rejected_run_comes_back_as_well():
    problem = Problem(code="x", message="no", remedy="ask otherwise", step="a", field="task")
    run, _ = begin(PlanRejected(run_id="r", problems=[problem]), offset=7, at_ms=BEGIN_MS)
    assert plain(snapshot.load("r", 7, snapshot.save(run))) == plain(run)


def test_a_snapshot_does_not_change_while_the_run_goes_on():
    story = fresh()
    state = snapshot.save(story.run)
    before = json.dumps(state)
    story.tell(ok("a", 1, usage=Usage(calls=5)), ok("b", 2), CANCEL)
    assert json.dumps(state) == before


def test_a_snapshot_of_another_version_is_refused_by_name():
    state = snapshot.save(fresh().run) | {"version": 99}
    with pytest.raises(InvariantBroken, match="state version 99; this coordinator reads 2 and 3"):
        snapshot.load("r", 7, state)


@pytest.mark.parametrize(
    "timer",
    [["queue", "z", 1, 5], ["queue", "a", "1", 5], ["deadline", None, 0, "soon"]],
)
def test_a_timer_that_cannot_fire_is_refused_with_its_run(timer):
    state = snapshot.save(fresh().run) | {"timers": [timer]}
    with pytest.raises(InvariantBroken, match="no timer"):
        snapshot.load("r", 0, state)


def test_a_snapshot_of_the_version_before_is_read():
    run = fresh().run
    state = snapshot.save(run) | {"version": 2}
    del state["used_before"], state["opened_ms"]
    assert plain(snapshot.load("r", 7, state)) == plain(run)
