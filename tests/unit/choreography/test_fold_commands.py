"""Pauses, approvals and signals; where attempts go and how long they wait."""

from __future__ import annotations

import pytest
from support.runs import CANCEL, Story, asks, failed, ok, started, waits

from starlings.choreography import DecisionKind, Ignored, confirmation_for, message_for
from starlings.choreography.asking import SIGNALS_KEPT
from starlings.choreography.retries import chance
from starlings.messages import (
    ApprovalGiven,
    ApprovalRequested,
    PauseRequested,
    ResumeRequested,
    RetryPolicy,
    RetryRequested,
    RunOutcome,
    SignalReceived,
    StepDone,
    Timeouts,
    TimerKind,
)

PAUSE, RESUME = PauseRequested(run_id="r"), ResumeRequested(run_id="r")


def answer(*, approved=True, name="ok", **more):
    return ApprovalGiven(run_id="r", step_id=name, approved=approved, **more)


def signal(payload=None, name="payment"):
    return SignalReceived(run_id="r", name=name, payload=payload)


# -- pauses ---------------------------------------------------------------------------------------


def test_a_paused_run_releases_nothing_until_it_is_resumed():
    story = Story("a", "b<a")
    story.tell(PAUSE, ok("a"))
    assert story.phases() == {"a": "done", "b": "ready"}
    change = story.tell(RESUME)
    assert [d.id for d in change.decisions] == ["r/b/1/step_ready"]


def test_pauses_that_mean_nothing_are_ignored():
    story = Story("a")
    assert story.tell(RESUME) == Ignored("the run is not paused")
    story.tell(PAUSE)
    assert story.tell(PAUSE) == Ignored("the run is paused")
    story.tell(CANCEL)
    assert story.tell(PAUSE) == Ignored("the run is stopping")


def test_a_paused_run_can_be_cancelled():
    story = Story("a")
    story.tell(failed("a", retryable=True), PAUSE, CANCEL)
    assert story.end.outcome is RunOutcome.CANCELLED


def test_a_run_that_has_not_ended_cannot_be_asked_to_go_on():
    fact = RetryRequested(run_id="r", generation=1, plan_offset=7, state={})
    assert Story("a").tell(fact) == Ignored("the run has not ended, it is running")


# -- approvals ------------------------------------------------------------------------------------


def test_a_person_is_asked_and_the_answer_is_the_output():
    story = Story("a", asks("ok", "a", timeout_s=60), "b<ok", max_parallel=1)
    story.tell(ok("a", 500))
    assert story.phases()["ok"] == "asking"
    (asked,) = story.owed(DecisionKind.ASK)
    question = message_for(story.run, asked)
    assert isinstance(question, ApprovalRequested)
    assert (question.approval.question, question.context[0].output) == ("Spend 500?", 500)
    assert confirmation_for(story.run, asked) is None
    assert story.timers() == {"wait ok": 60}
    story.tell(question)
    assert story.owed(DecisionKind.ASK) == []
    story.tell(answer(comment="fine", given_by="Ann"))
    assert story.run.steps["ok"].output == {"approved": True, "comment": "fine", "by": "Ann"}
    assert story.phases()["b"] == "released"
    assert story.timers() == {}


def test_a_no_fails_the_step_for_good_with_the_reason():
    story = Story(asks(), "b<ok")
    story.tell(answer(approved=False, comment="too much", given_by="Ann"))
    end = story.end
    assert (end.outcome, end.steps[0].state) == (RunOutcome.FAILED, "failed")
    assert end.steps[0].error.message == "rejected by Ann: too much"


def test_a_no_without_a_word():
    story = Story(asks())
    story.tell(answer(approved=False))
    assert story.end.steps[0].error.message == "rejected"


@pytest.mark.parametrize(("default", "state"), [("approve", "done"), ("reject", "failed")])
def test_nobody_answers_in_time(default, state):
    story = Story(asks(timeout_s=5, default=default))
    story.fire(TimerKind.WAIT, "ok")
    assert story.end.steps[0].state == state


def test_answers_that_nobody_waits_for_are_ignored():
    story = Story("a", asks("ok", "a"))
    assert story.tell(answer(name="z")) == Ignored("the plan has no such step")
    assert story.tell(answer(name="a")) == Ignored("the step asks for no approval")
    assert story.tell(answer()) == Ignored("the step is waiting")
    story.tell(ok("a"), answer())
    assert story.tell(answer(approved=False)) == Ignored("the step is done")


def test_the_first_of_two_answers_counts():
    story = Story(asks(), "b")
    story.tell(answer(given_by="Ann"))
    assert story.tell(answer(approved=False, given_by="Bob")) == Ignored("the step is done")


def test_a_question_is_withdrawn_when_the_run_turns_round():
    story = Story(asks(timeout_s=5), waits())
    story.tell(CANCEL)
    assert story.end.outcome is RunOutcome.CANCELLED
    assert (story.owed(DecisionKind.ASK), story.timers(), story.run.asking) == ([], {}, {})


# -- signals --------------------------------------------------------------------------------------


def test_a_signal_ends_the_step_that_waits_for_it():
    story = Story(waits(), "b<paid")
    story.tell(signal({"amount": 5}))
    assert (story.phases()["b"], story.run.steps["paid"].output) == ("released", {"amount": 5})


def test_signals_that_come_early_are_kept_in_their_order():
    story = Story("a", waits("p", "a"), waits("q", "p"), "z<q")
    story.tell(signal(1), signal(2), ok("a"))
    assert [story.run.steps[name].output for name in "pq"] == [1, 2]
    assert (story.run.signals, story.phases()["z"]) == ({}, "released")


def test_two_that_wait_for_one_signal_are_served_in_the_order_of_the_plan():
    story = Story(waits("p"), waits("q"))
    story.tell(signal(1))
    assert story.phases() == {"p": "done", "q": "asking"}
    story.tell(signal(2))
    assert story.end.outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize(("default", "state"), [(None, "failed"), ({"amount": 0}, "done")])
def test_no_signal_comes_in_time(default, state):
    story = Story(waits(timeout_s=5, default=default))
    story.fire(TimerKind.WAIT, "paid")
    assert (story.end.steps[0].state, story.end.steps[0].output) == (state, default)


def test_a_signal_that_no_step_will_wait_for_is_not_kept():
    story = Story(waits("p"), "a")
    assert story.tell(signal(name="other")) == Ignored("no step waits for a signal 'other'")
    story.tell(signal(1))
    assert story.tell(signal(2)) == Ignored("no step waits for a signal 'payment'")
    assert story.run.signals == {}


def test_a_run_is_no_queue():
    story = Story("a", waits("p", "a"))
    for number in range(SIGNALS_KEPT):
        story.tell(signal(number))
    assert story.tell(signal()) == Ignored("1000 signals of that name wait already")
    story.tell(CANCEL)
    assert story.tell(signal()) == Ignored("the run is stopping")


# -- variants, escalation, jitter -----------------------------------------------------------------


def ready_of(story):
    return message_for(story.run, story.owed(DecisionKind.RELEASE)[-1])


def test_a_step_that_ran_out_of_resources_goes_to_the_next_larger_variant():
    policy = RetryPolicy(attempts=4, initial_s=0, escalate=["default", "large", "huge"])
    story = Story("a", retry=policy)
    served = [ready_of(story).variant]
    for attempt in (1, 2):
        story.tell(exhausted(attempt))
        story.fire(TimerKind.RETRY, "a")
        served.append(ready_of(story).variant)
    assert served == [None, "large", "huge"]
    confirmation = confirmation_for(story.run, story.owed(DecisionKind.RELEASE)[0])
    assert confirmation is not None
    assert confirmation.message.variant == "huge"
    story.tell(exhausted(3))
    assert story.end.outcome is RunOutcome.FAILED, "there is none larger"


def exhausted(attempt):
    error = {"code": "resource_exhausted", "message": "out of memory"}
    done = failed("a", attempt)
    return StepDone.model_validate(done.model_dump() | {"error": error})


def test_a_step_without_a_larger_variant_fails_when_its_resources_do_not_suffice():
    story = Story("a")
    story.tell(exhausted(1))
    assert story.end.outcome is RunOutcome.FAILED


def test_a_step_that_was_not_heard_of_again_escalates_and_other_errors_do_not():
    policy = RetryPolicy(attempts=4, initial_s=0, escalate=["small", "large"])
    story = Story("a", retry=policy, timeouts=Timeouts(heartbeat_s=1, run_s=None))
    story.tell(failed("a", retryable=True))
    story.fire(TimerKind.RETRY, "a")
    assert ready_of(story).variant == "small"
    story.tell(started("a", 2))
    story.fire(TimerKind.HEARTBEAT, "a")
    story.fire(TimerKind.RETRY, "a")
    assert ready_of(story).variant == "large"


def test_a_share_of_the_runs_goes_to_a_variant_and_stays_there():
    def served(run_id, shares):
        story = Story("a", "b<a", routing={"math": shares})
        story.run.run_id = run_id
        story.tell(ok("a"))
        return ready_of(story).variant

    runs = [f"run-{number}" for number in range(400)]
    canary = [run_id for run_id in runs if served(run_id, {"canary": 0.25}) == "canary"]
    assert 70 < len(canary) < 130
    both = {served(run_id, {"canary": 0.5, "default": 0.5}) for run_id in runs}
    assert both == {"canary", None}
    assert served("x", {"canary": 1.0}) == "canary"
    assert served("x", {"canary": 0.0}) is None


def test_the_jitter_is_the_same_at_every_reading_and_differs_between_steps():
    def pauses():
        story = Story("a", "b", retry=RetryPolicy(initial_s=10, jitter=0.5))
        story.tell(failed("a", retryable=True), failed("b", retryable=True))
        return story.timers()

    assert pauses() == pauses()
    assert len(set(pauses().values())) == 2
    assert all(10 <= pause <= 15 for pause in pauses().values())
    assert 0 <= chance("x") < 1
