"""Going on with a run that has ended: to do what was not done, to undo what could not be undone."""

from __future__ import annotations

import pytest
from support.partition import Reader
from support.runs import BEGIN_MS, CANCEL, Story, failed, ok, started, step
from support.sagas import Saga, did, not_undone, undone

from starlings.choreography import (
    Change,
    DecisionKind,
    Ignored,
    Recorded,
    RunPhase,
    begin,
    confirmation_for,
    message_for,
    refusal,
    reopen,
    retell,
    snapshot,
)
from starlings.messages import (
    FailurePolicy,
    Message,
    Plan,
    PlanCreated,
    RetryPolicy,
    RetryRequested,
    RunOptions,
    RunOutcome,
    RunSnapshot,
    StepReady,
    Timeouts,
    TimerKind,
)


def ended(story):
    story.tell(story.end)
    return story


def abandoned():
    saga = Saga("a", "b<a", "c<b")
    saga.tell(did("a"), did("b"), failed("c"), not_undone("b"))
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    return ended(saga)


def asked(story, *, generation=1, state=None, **more):
    state = snapshot.save(story.run) if state is None else state
    return RetryRequested(run_id="r", generation=generation, plan_offset=7, state=state, **more)


def reopened(story, **more):
    outcome = reopen(asked(story, **more), at_ms=BEGIN_MS)
    assert not isinstance(outcome, Ignored), outcome
    story.run, story.change = outcome
    return story


def half_done(**options):
    story = Story("a", "b<a", "c<b", "d", **options)
    story.tell(ok("a", 1), failed("b"))
    story.tell(ok("d"))
    return ended(story)


# -- doing what was not done -----------------------------------------------------------------------


def test_a_failed_run_goes_on_from_where_it_failed_and_keeps_what_is_done():
    story = reopened(half_done())
    assert story.phases() == {"a": "done", "b": "released", "c": "waiting", "d": "done"}
    assert [d.id for d in story.change.decisions] == ["r/b/2/step_ready"]
    story.tell(ok("b", attempt=2), ok("c"))
    assert (story.end.outcome, story.end.generation) == (RunOutcome.COMPLETED, 1)
    assert [d.id for d in story.owed(DecisionKind.END)] == ["r/run_done/1"]


def test_a_step_may_be_given_another_input():
    story = reopened(half_done(), step_id="b", input={"city": "Turin"})
    ready = message_for(story.run, story.change.decisions[0])
    assert isinstance(ready, StepReady)
    assert (ready.input, ready.generation) == ({"city": "Turin"}, 1)


def test_attempts_are_counted_anew():
    story = reopened(half_done(retry=RetryPolicy(attempts=2, initial_s=0)))
    story.tell(failed("b", 2, retryable=True))
    story.fire(TimerKind.RETRY, "b")
    story.tell(failed("b", 3, retryable=True))
    assert story.end.outcome is RunOutcome.FAILED


def test_steps_that_were_skipped_or_cancelled_wait_again():
    story = Story("a", "b<a", "c", on_failure=FailurePolicy.SKIP_DEPENDENTS)
    story.tell(failed("a"), ok("c"))
    story = reopened(ended(story))
    assert story.phases() == {"a": "released", "b": "waiting", "c": "done"}


def test_a_cancelled_run_may_go_on_too_and_is_stopped_under_another_id():
    story = Story("a", "b<a", timeout_s=9)
    story.tell(started("a"), CANCEL)
    story.fire(TimerKind.SETTLE)
    story = reopened(ended(story))
    assert story.timers() == {"deadline": 9}
    story.tell(CANCEL)
    assert [d.id for d in story.owed(DecisionKind.STOP)] == ["r/stop_requested/1"]
    assert message_for(story.run, story.owed(DecisionKind.STOP)[0]).generation == 1


def test_a_step_done_again_is_undone_after_those_that_went_on_without_it():
    saga = Saga(step("a", on_failure=FailurePolicy.CONTINUE), "b<a")
    saga.tell(failed("a"), did("b"))
    saga = reopened(ended(saga))
    saga.tell(CANCEL, did("a", attempt=2))
    assert saga.undos() == ["b/1/1"]
    saga.tell(undone("b"))
    assert saga.undos() == ["a/2/1"]


# -- undoing what could not be undone --------------------------------------------------------------


def test_an_abandoned_compensation_is_tried_again_and_the_rest_follows():
    saga = reopened(abandoned(), compensation=True, step_id="b")
    assert saga.run.phase is RunPhase.COMPENSATING
    assert saga.undos() == ["b/1/2"]
    saga.tell(not_undone("b", 2, retryable=True))
    saga.fire(TimerKind.UNDO_RETRY, "b")
    saga.tell(undone("b", 3))
    assert saga.undos() == ["a/1/1"]
    saga.tell(undone("a"))
    assert (saga.end.outcome, saga.end.generation) == (RunOutcome.COMPENSATED, 1)


def test_a_cancelled_run_that_is_undone_at_last_is_cancelled():
    saga = Saga("a", "b<a")
    saga.tell(did("a"), CANCEL)
    saga.fire(TimerKind.SETTLE)
    saga.tell(not_undone("a"))
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    saga = reopened(ended(saga), compensation=True)
    saga.tell(undone("a", 2))
    assert saga.end.outcome is RunOutcome.CANCELLED


def test_a_run_that_kept_what_it_did_has_completed_when_what_came_late_is_undone_at_last():
    saga = Saga("a", timeouts=Timeouts(run_s=1), retry=RetryPolicy(initial_s=0))
    saga.tell(started("a"))
    saga.fire(TimerKind.RUN, "a")
    saga.fire(TimerKind.RETRY, "a")
    saga.tell(did("a", "late"), not_undone("a"), did("a", attempt=2))
    saga.tell(confirmation_for(saga.run, saga.owed(DecisionKind.BURY)[0]).message)
    assert saga.end.outcome is RunOutcome.COMPENSATION_FAILED
    saga = reopened(ended(saga), compensation=True)
    saga.tell(undone("a", 2))
    assert (saga.end.outcome, saga.end.error) == (RunOutcome.COMPLETED, None)


def test_a_burial_that_a_made_up_state_owes_is_not_waited_for():
    saga = abandoned()
    state = snapshot.save(saga.run)
    state["owed"] = [["x", "dead_letter", "b", 1, "", 1]]
    saga = reopened(saga, state=state, compensation=True)
    saga.tell(undone("b", 2), undone("a"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


# -- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "more", "reason"),
    [
        (lambda: Story("a"), {}, "the run has not ended, it is running"),
        (half_done, {"step_id": "z"}, "the plan has no step 'z'"),
        (half_done, {"step_id": "a"}, "the step 'a' is done"),
        (half_done, {"compensation": True}, "no compensation was abandoned there"),
        (abandoned, {"compensation": True, "step_id": "a"}, "no compensation was abandoned there"),
        (abandoned, {}, "what the run did has been undone"),
    ],
)
def test_what_cannot_go_on_says_why(make, more, reason):
    story = make()
    why = refusal(
        story.run, step_id=more.get("step_id"), compensation=more.get("compensation", False)
    )
    assert why is not None
    assert why.startswith(reason)
    outcome = reopen(asked(story, **more), at_ms=0)
    assert isinstance(outcome, Ignored)
    assert outcome.reason.startswith(reason)


def test_a_run_that_completed_has_nothing_to_go_on_with():
    story = Story("a")
    story.tell(ok("a"))
    why = refusal(ended(story).run, step_id=None, compensation=False)
    assert why == "the run has no step that is not done"


def test_a_run_of_another_generation_is_not_reopened():
    outcome = reopen(asked(half_done(), generation=3), at_ms=0)
    assert outcome == Ignored("it is for generation 3, the run is 0")


@pytest.mark.parametrize("state", [{}, {"version": 2}, {"version": "x"}, {"version": 1}])
def test_a_state_that_cannot_be_read_is_ignored(state):
    outcome = reopen(asked(half_done(), state=state), at_ms=0)
    assert isinstance(outcome, Ignored)
    assert "cannot be read" in outcome.reason


# -- telling a run from its facts ------------------------------------------------------------------


def plan(*names, **options):
    steps = [step(name) for name in names]
    return PlanCreated(run_id="r", plan=Plan(steps=steps), options=RunOptions(**options))


def history(*facts: Message):
    return [Recorded(number, BEGIN_MS, fact) for number, fact in enumerate(facts)]


def test_a_run_is_told_across_its_ends():
    first = [plan("a"), failed("a")]
    run = retell(history(*first))
    assert run is not None
    end = message_for(run, next(iter(run.owed.values())))
    run = retell(history(*first, end))
    assert run is not None
    again = RetryRequested(
        run_id="r", generation=1, plan_offset=0, state=snapshot.save(run), input=1
    )
    late = history(*first, end, again, again, end, ok("a", attempt=2))
    told = retell(late)
    assert told is not None
    assert (told.phase, told.outcome, told.generation) == (RunPhase.ENDING, "completed", 1)


def test_a_run_whose_plan_has_been_deleted_is_told_from_its_snapshot():
    run, _ = begin(plan("a"), offset=0, at_ms=BEGIN_MS)
    carried = RunSnapshot(run_id="r", as_of=0, plan_offset=0, state=snapshot.save(run))
    told = retell(history(ok("b"), carried, ok("a"), carried))
    assert told is not None
    assert told.outcome is RunOutcome.COMPLETED


def test_without_a_plan_there_is_no_run():
    assert retell(history(ok("a"))) is None


# -- in a partition --------------------------------------------------------------------------------


def told_by(reader, *facts):
    outcome = Change()
    for fact in facts:
        outcome = reader.read(fact)
    return outcome


def a_failed_run():
    """Give the facts of a run that failed, and the word that reopens it."""
    facts = [plan("a", on_failure="stop"), failed("a")]
    run = retell(history(*facts))
    end = message_for(run, next(iter(run.owed.values())))
    run = retell(history(*facts, end))
    again = RetryRequested(run_id="r", generation=1, plan_offset=0, state=snapshot.save(run))
    return [*facts, end], again


def test_a_reopened_run_is_anchored_at_the_word_that_reopened_it():
    facts, again = a_failed_run()
    reader = Reader()
    change = told_by(reader, *facts, again)
    assert [d.id for d in change.decisions] == ["r/a/2/step_ready"]
    assert reader.ledger.anchors["r"].offset == 3
    assert not reader.ledger.ended
    assert told_by(reader, again) == Ignored("the run has not ended, it is running")


def test_an_end_of_the_past_does_not_end_a_reopened_run():
    facts, again = a_failed_run()
    reader = Reader()
    told_by(reader, *facts, again)
    assert told_by(reader, facts[-1]) == Ignored("the run has been reopened since")
    assert reader.ledger.end(reader.place, "r", 0) == Ignored("the run has been reopened since")
    assert "r" in reader.ledger.runs


def test_a_word_that_is_repeated_after_the_second_end_reopens_nothing():
    facts, again = a_failed_run()
    reader = Reader()
    told_by(reader, *facts, again, ok("a", attempt=2))
    end = message_for(reader.ledger.runs["r"], next(iter(reader.ledger.runs["r"].owed.values())))
    told_by(reader, end)
    assert told_by(reader, again) == Ignored("a repeat: the run was reopened and has ended since")
    assert told_by(reader, facts[-1]) == Ignored("the run has been reopened since")


def test_a_word_that_cannot_be_followed_changes_nothing():
    _, again = a_failed_run()
    reader = Reader()
    outcome = reader.read(again.model_copy(update={"state": {}}))
    assert isinstance(outcome, Ignored)
    assert not reader.ledger.runs


def test_a_snapshot_goes_before_a_repeated_word_met_while_recovering():
    _, again = a_failed_run()
    run, _ = reopen(again, at_ms=BEGIN_MS)
    carried = RunSnapshot(run_id="r", as_of=12, plan_offset=0, state=snapshot.save(run))
    late = Reader(10, recovering=True)
    told_by(late, again, ok("a", attempt=2))
    assert late.ledger.runs["r"].phase is RunPhase.ENDING
    late.pass_by(2)
    assert told_by(late, carried) == Change()
    assert late.ledger.runs["r"].phase is RunPhase.RUNNING, "the result is as old as the snapshot"


def test_a_snapshot_of_an_earlier_life_is_of_the_past():
    facts, again = a_failed_run()
    old = begin(facts[0], offset=0, at_ms=BEGIN_MS)[0]
    carried = RunSnapshot(run_id="r", as_of=10, plan_offset=0, state=snapshot.save(old))
    late = Reader(10, recovering=True)
    told_by(late, ok("x"), facts[-1], again)
    assert told_by(late, carried) == Ignored("the run has been reopened since")
    late = Reader(10, recovering=True)
    told_by(late, ok("x"), facts[-1])
    assert told_by(late, carried) == Ignored("the snapshot is of a run that has ended")


def test_a_reader_that_began_at_a_repeated_plan_finds_out_from_the_word():
    facts, again = a_failed_run()
    late = Reader(10, recovering=True)
    told_by(late, facts[0])
    assert told_by(late, again) == Ignored("this reader began the run at another plan")
    assert late.ledger.misread == {"r": 0}
