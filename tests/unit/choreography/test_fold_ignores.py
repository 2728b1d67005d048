"""Late, stale, duplicate and foreign facts change nothing, and say why; no fact ever raises."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recovery.coordinator import plain
from support.runs import BEGIN_MS, CANCEL, Story, failed, ok, progress, started, step

from starlings.choreography import Change, Ignored, RunPhase, fold
from starlings.choreography.outputs import run_done
from starlings.messages import (
    MESSAGES,
    AgentAlive,
    CancelRequested,
    ErrorInfo,
    Message,
    Plan,
    PlanCreated,
    PlanRejected,
    RetryPolicy,
    RunDone,
    RunOptions,
    RunOutcome,
    RunSnapshot,
    StepDone,
    StepOutcome,
    StepProgress,
    StepScheduled,
    StepSkipped,
    StepStarted,
    StopAnnounced,
    Timeouts,
    TimerFired,
    TimerKind,
    Usage,
)


def in_phase(phase: str) -> Story:
    """Bring a run to where its step `a` stands in a phase."""
    story = Story("a", "b<a", retry=RetryPolicy(attempts=2))
    if phase == "running":
        story.tell(started("a"))
    elif phase == "backoff":
        story.tell(failed("a", retryable=True))
    elif phase == "second attempt":
        story.tell(failed("a", retryable=True))
        story.fire(TimerKind.RETRY, "a")
    elif phase == "done":
        story.tell(ok("a"))
    elif phase == "failed":
        story.tell(failed("a"))
    return story


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        ("backoff", "the step is backoff"),
        ("second attempt", "stale attempt"),
        ("done", "the step is done"),
        ("failed", "the run is ending"),
    ],
)
@pytest.mark.parametrize("fact", [ok("a"), failed("a"), started("a"), progress("a")])
def test_facts_about_an_attempt_that_is_over_are_ignored(phase, reason, fact):
    story = in_phase(phase)
    before = copy.deepcopy(plain(story.run))
    assert story.tell(fact) == Ignored(reason)
    assert plain(story.run) == before


def test_facts_about_what_has_not_been_released_are_ignored():
    story = in_phase("released")
    assert story.tell(ok("b")) == Ignored("attempt not made yet")
    assert story.tell(ok("b", attempt=0)) == Ignored("the step is waiting")
    assert story.tell(ok("nobody")) == Ignored("the plan has no such step")


def test_a_repeated_start_is_ignored():
    assert in_phase("running").tell(started("a")) == Ignored("the step is running")


@pytest.mark.parametrize("again", [PlanRejected(run_id="r", problems=[]), None])
def test_the_first_plan_in_the_log_counts(again):
    story = in_phase("running")
    again = again or PlanCreated(run_id="r", plan=Plan(steps=[step("z")]))
    assert story.tell(again) == Ignored("the run has its plan: the first one in the log counts")
    assert list(story.run.steps) == ["a", "b"]


def test_messages_that_are_no_facts_of_a_run_are_ignored():
    heartbeat = AgentAlive(agent="math", instance="i")
    assert in_phase("done").tell(heartbeat) == Ignored("agent_alive is not a fact of a run")


@pytest.mark.parametrize(
    "fact",
    [
        ok("a"),
        started("a"),
        CANCEL,
        StepScheduled(run_id="r", step_id="a", attempt=1, agent="math"),
        StepSkipped(run_id="r", step_id="a", because="b"),
        StopAnnounced(run_id="r", stop_id="r/stop_requested"),
        TimerFired(run_id="r", kind=TimerKind.DEADLINE, due_ms=1),
        RunDone(run_id="r", outcome=RunOutcome.FAILED),
    ],
)
def test_nothing_happens_after_the_end(fact):
    story = in_phase("failed")
    story.tell(story.end)
    assert story.tell(fact) == Ignored("the run has ended")


# -- totality: every fact in every state, in any order -------------------------------------------

STEPS = st.sampled_from(["a", "b", "c", "d", "nobody"])
ATTEMPTS = st.integers(0, 4)
ERRORS = st.builds(
    ErrorInfo,
    code=st.just("x"),
    message=st.text(max_size=5),
    retryable=st.booleans(),
    retry_after_s=st.none() | st.floats(0, 1e308),
)
ABOUT = {"run_id": st.just("r"), "step_id": STEPS, "attempt": ATTEMPTS, "agent": st.just("math")}
FACTS: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        StepDone,
        **ABOUT,
        outcome=st.sampled_from(StepOutcome),
        output=st.none() | st.integers() | st.lists(st.text(max_size=3), max_size=2),
        error=st.none() | ERRORS,
        usage=st.none() | st.just(Usage(calls=1)),
    ),
    st.builds(StepStarted, **ABOUT),
    st.builds(StepProgress, **ABOUT),
    st.builds(StepScheduled, **ABOUT),
    st.builds(StepSkipped, run_id=st.just("r"), step_id=STEPS, because=STEPS),
    st.builds(StopAnnounced, run_id=st.just("r"), stop_id=st.just("r/stop_requested")),
    st.builds(
        TimerFired,
        run_id=st.just("r"),
        kind=st.sampled_from(TimerKind),
        step_id=st.none() | STEPS,
        attempt=st.none() | ATTEMPTS,
        due_ms=st.just(BEGIN_MS * 10**9),
    ),
    st.just(CancelRequested(run_id="r")),
    st.just(PlanRejected(run_id="r", problems=[])),
    st.just(PlanCreated(run_id="r", plan=Plan(steps=[step("z")]))),
    st.just(RunSnapshot(run_id="r", as_of=1, plan_offset=1, state={})),
    st.just(AgentAlive(agent="math", instance="i")),
)
POLICIES = st.sampled_from([None, "stop", "continue", "skip_dependents"])


def any_story(policies: list[Any], options: dict[str, Any]) -> Story:
    a, b, c, d = policies
    return Story(
        step("a", on_failure=a),
        step("b", on_failure=b),
        step("c", "a", "b", on_failure=c),
        step("d", "c", on_failure=d),
        **options,
    )


OPTIONS = st.fixed_dictionaries(
    {
        "max_parallel": st.sampled_from([None, 1, 2]),
        "timeouts": st.sampled_from(
            [Timeouts(), Timeouts(queue_s=1, run_s=2, heartbeat_s=1), Timeouts(run_s=1e308)]
        ),
        "retry": st.builds(RetryPolicy, attempts=st.integers(1, 3)),
        "timeout_s": st.sampled_from([None, 5.0]),
    }
)


def consistent(run: Any) -> None:
    """Check that counters say what the steps say, and that the run ends when nothing is left."""
    phases = [s.phase.value for s in run.order]
    assert run.out == sum(p in ("released", "running") for p in phases)
    assert run.unsettled == sum(not s.settled for s in run.order)
    assert sorted(run.ready) == [s.index for s in run.order if s.phase.value == "ready"]
    limit = run.options.max_parallel
    assert limit is None or run.out <= limit
    if run.phase in (RunPhase.RUNNING, RunPhase.STOPPING):
        assert run.unsettled
        assert run.out or any(p == "backoff" for p in phases), "nothing can ever happen"
    else:
        assert run_done(run).outcome is run.outcome


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    policies=st.lists(POLICIES, min_size=4, max_size=4),
    options=OPTIONS,
    facts=st.lists(FACTS | st.integers(0, 5), max_size=25),
)
def test_any_facts_in_any_order_leave_a_sound_run_and_never_raise(policies, options, facts):
    story = any_story(policies, options)
    for number, fact in enumerate(facts):
        if isinstance(fact, int):  # one of the timers that run
            running = list(story.run.timers)
            if not running:
                continue
            key = running[fact % len(running)]
            fact = TimerFired(  # noqa: PLW2901 - the timer instead of its number
                run_id="r",
                kind=key.kind,
                step_id=key.step_id,
                attempt=key.attempt,
                due_ms=story.run.timers[key],
            )
        outcome = fold(story.run, fact, at_ms=BEGIN_MS + number)
        assert isinstance(outcome, Change | Ignored)
        consistent(story.run)


@pytest.mark.parametrize("model", MESSAGES.values())
@pytest.mark.parametrize("phase", ["released", "running", "backoff", "done", "failed"])
def test_every_type_of_message_is_taken_in_every_phase(model, phase):
    fact = model.model_construct(
        run_id="r",
        step_id="a",
        attempt=1,
        agent="math",
        outcome=StepOutcome.OK if model is StepDone else RunOutcome.FAILED,
        output=1,
        summary=None,
        error=None,
        usage=None,
        kind=TimerKind.RUN,
        due_ms=0,
        reason="",
        requested_by="",
        because="a",
        stop_id="r/stop_requested",
        number=1,
        name="paid",
        payload=None,
        text="why",
        amendment=None,
        replan=None,
        options=RunOptions(),
    )
    story = in_phase(phase)
    assert isinstance(story.tell(fact), Change | Ignored)
    consistent(story.run) if story.run.phase is not RunPhase.ENDED else None
