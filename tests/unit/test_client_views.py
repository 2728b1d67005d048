"""What a reader of the log sees of runs that are paused, ask, end, and are reopened."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.forks import forked
from support.recovery.coordinator import plain
from support.runs import BEGIN_MS, failed, ok, step
from support.sagas import undone

from starlings.choreography import DecisionKind, confirmation_for
from starlings.choreography.outputs import run_done
from starlings.choreography.snapshot import save
from starlings.client import RunView
from starlings.client.listing import Listed, Listing
from starlings.kafka.codec import Received
from starlings.messages import (
    Amendment,
    AmendmentProposed,
    AmendmentRejected,
    ApprovalGiven,
    ApprovalRequested,
    CancelRequested,
    Compensation,
    CompensationScheduled,
    Envelope,
    Message,
    Origin,
    PauseRequested,
    Plan,
    PlanAmended,
    PlanCreated,
    ReplanRequested,
    ReplanScheduled,
    ResumeRequested,
    RetryRequested,
    RunOptions,
    RunSnapshot,
    Step,
    StepProgress,
    TimerFired,
    TimerKind,
)

ASKS = Step(id="ok", agent="human", approval={"question": "Well?"}, depends_on=["a"])
PLAN = PlanCreated(
    run_id="r", plan=Plan(steps=[step("a"), ASKS]), options=RunOptions(on_failure="stop")
)
ASKED = ApprovalRequested(run_id="r", step_id="ok", attempt=1, approval=ASKS.approval)


class Log:
    """A view and a line of a list, told the same facts."""

    def __init__(self, *facts: Message) -> None:
        self.view, self.listed, self.offset = RunView("r"), Listed("r"), 0
        self.tell(*facts)

    def tell(self, *facts: Message) -> str:
        for fact in facts:
            at_ms = BEGIN_MS + self.offset
            envelope = Envelope(f"r/{self.offset}", fact.CE_TYPE, "test", "r", at_ms)
            received = Received(Origin("events", 0, self.offset), at_ms, b"r", envelope, fact)
            self.view.add(received)
            self.listed.add(received)
            self.offset += 1
        return self.view.status

    def end(self) -> Message:
        assert self.view.run is not None
        return run_done(self.view.run)

    def retry(self, **more: Any) -> RetryRequested:
        run = self.view.run
        assert run is not None
        given = {"generation": run.generation + 1, "plan_offset": 0, "state": save(run)}
        return RetryRequested(**{"run_id": "r", **given, **more})

    @property
    def line(self) -> str:
        return self.listed.summary().status


def test_both_tell_that_a_run_is_paused_asks_and_goes_on():
    log = Log(PLAN)
    assert (log.view.status, log.line) == ("running", "running")
    log.tell(PauseRequested(run_id="r"))
    assert (log.view.status, log.line) == ("paused", "paused")
    log.tell(ResumeRequested(run_id="r"), ok("a"), ASKED)
    assert (log.view.status, log.line) == ("asking", "asking")
    log.tell(ApprovalGiven(run_id="r", step_id="ok", approved=True))
    log.tell(log.end())
    assert (log.view.status, log.line) == ("completed", "completed")


SEAT = Compensation(agent="math", task="give it back")
TRIP = PlanCreated(run_id="r", plan=Plan(steps=[step("a", compensate=SEAT), step("b", "a")]))
ANEW = Amendment(invalidate=["a"])


def released(**more: Any) -> CompensationScheduled:
    return CompensationScheduled(run_id="r", step_id="a", attempt=1, number=1, agent="math", **more)


def test_both_tell_that_a_run_is_planned_anew_and_goes_on_afterwards():
    log = Log(TRIP, ok("a"), ReplanRequested(run_id="r", text="another seat"))
    log.tell(ReplanScheduled(run_id="r", number=1))
    assert (log.view.status, log.line) == ("replanning", "replanning")
    log.tell(AmendmentProposed(run_id="r", number=1, amendment=ANEW))
    log.tell(PlanAmended(run_id="r", replan=1, amendment=ANEW), ok("b"))
    assert log.view.run is not None
    (decision,) = (d for d in log.view.run.owed.values() if d.kind is DecisionKind.UNDO)
    told = confirmation_for(log.view.run, decision)
    assert told is not None
    assert told.message == released(replan=1)
    log.tell(told.message)
    assert (log.view.status, log.line) == ("replanning", "replanning")
    log.tell(undone("a"))
    assert (log.view.status, log.line) == ("running", "running")
    log.tell(released(replan=1))  # told after the end that it was slower than
    assert log.line == "running"


def test_a_list_tells_a_run_that_is_undone_from_one_that_found_no_other_plan():
    log = Log(TRIP, ok("a"), ReplanRequested(run_id="r", text="another seat"))
    log.tell(ReplanScheduled(run_id="r", number=1))
    log.tell(AmendmentRejected(run_id="r", replan=1, problems=[]))
    assert log.line == "running"
    log.tell(CancelRequested(run_id="r"), released())
    assert (log.view.status, log.line) == ("compensating", "compensating")


FORM = Step(id="form", agent="human", input={"question": "Well?"})
WITH_FORM = PlanCreated(run_id="r", plan=Plan(steps=[FORM, step("a")]), options=RunOptions())
TELLS = StepProgress(
    run_id="r",
    step_id="form",
    attempt=1,
    agent="human",
    progress={"phase": "waiting", "progress": {"asks": "Well?", "fields": {"a": "string"}}},
)


def test_both_tell_that_a_run_waits_for_a_form():
    log = Log(WITH_FORM)
    assert (log.view.status, log.line) == ("running", "running")
    log.tell(TELLS)
    assert (log.view.status, log.line) == ("asking", "asking")
    log.tell(ok("form", {"answer": {"a": "so"}}))
    assert (log.view.status, log.line) == ("running", "running")


def record(fact: Message, key: bytes) -> Any:
    return SimpleNamespace(headers=[("ce_type", fact.CE_TYPE.encode())], key=key)


def test_a_list_reads_what_steps_tell_only_where_people_are_asked():
    listing = Listing()
    assert not listing.wants(record(TELLS, b"r"))
    for fact, key in ((PLAN, b"approval"), (WITH_FORM, b"form")):
        assert listing.wants(record(fact, key))
        envelope = Envelope("x", fact.CE_TYPE, "test", "r", BEGIN_MS)
        listing.add(Received(Origin("events", 0, 0), BEGIN_MS, key, envelope, fact))
    assert listing.wants(record(TELLS, b"form"))
    assert listing.wants(record(ok("form"), b"form"))
    assert not listing.wants(record(TELLS, b"approval"))
    assert not listing.wants(record(ok("form"), b"r"))


def test_a_question_whose_time_is_up_is_none_any_more():
    log = Log(PLAN, ok("a"), ASKED)
    due = TimerFired(run_id="r", kind=TimerKind.WAIT, step_id="ok", attempt=1, due_ms=1)
    log.tell(due)
    assert log.line == "running"


def test_a_reopened_run_has_no_end_until_the_next_one_and_older_ends_are_of_the_past():
    log = Log(PLAN, failed("a"))
    first = log.end()
    log.tell(first)
    assert (log.view.status, log.line) == ("failed", "failed")
    again = log.retry()
    log.tell(again)
    assert log.view.done is None
    assert (log.view.status, log.line, log.listed.summary().is_open) == ("running",) * 2 + (True,)
    log.tell(first)  # repeated by a coordinator that has not seen the retry
    assert log.view.done is None
    assert log.line == "running"
    assert log.view.refused == "the run has been reopened since"
    log.tell(ok("a", attempt=2), ASKED, ApprovalGiven(run_id="r", step_id="ok", approved=True))
    log.tell(log.end())
    assert (log.view.status, log.line) == ("completed", "completed")
    log.tell(again)  # a repeat
    assert (log.view.status, log.line) == ("completed", "completed")


def test_a_retry_that_cannot_be_followed_reopens_nothing():
    log = Log(PLAN, failed("a"))
    log.tell(log.end())
    assert log.tell(log.retry(state={})) == "failed"
    assert log.line == "failed"
    assert log.tell(log.retry(generation=7)) == "failed"
    assert log.tell(log.retry()) == "running"
    assert log.tell(log.retry()) == "running"  # it has not ended


def test_a_run_whose_plan_is_gone_is_seen_from_the_word_that_reopened_it():
    log = Log(PLAN, failed("a"))
    log.tell(log.end())
    later = Log(log.retry())
    assert (later.view.status, later.line) == ("running", "running")
    assert later.view.run is not None
    assert [s.spec.id for s in later.view.run.order] == ["a", "ok"]


def carried(log: Log, as_of: int, **more: Any) -> RunSnapshot:
    assert log.view.run is not None
    given = {"as_of": as_of, "plan_offset": 0, "state": save(log.view.run)}
    return RunSnapshot(**{"run_id": "r", **given, **more})


def test_a_run_whose_plan_is_gone_is_seen_from_its_snapshot_and_can_go_on():
    log = Log(PLAN)
    snapshot = carried(log, as_of=0)
    log.tell(ok("a", 1), snapshot, ApprovalGiven(run_id="r", step_id="ok", approved=False))
    later = Log()
    later.offset = 1
    later.tell(ok("a", 1))
    assert later.view.run is None
    later.tell(snapshot)
    assert later.view.run is not None
    assert (later.view.since, later.view.status) == (1, "asking")
    later.tell(ApprovalGiven(run_id="r", step_id="ok", approved=False))
    assert plain(later.view.run) == plain(log.view.run)
    later.tell(later.end())
    assert later.view.status == "failed"
    assert later.tell(later.retry()) == "asking"


def test_a_later_snapshot_tells_more_where_facts_behind_the_first_one_may_be_gone():
    log = Log(PLAN)
    early = carried(log, as_of=0)
    log.tell(ok("a", 1))
    late = carried(log, as_of=1)
    later = Log()
    later.offset = 2  # the result of a, between the two, is gone
    assert later.tell(early) == "running"
    assert later.tell(late) == "asking"
    assert later.view.since == 2
    later.tell(early)
    assert later.view.refused == "a snapshot tells nothing new"


@pytest.mark.parametrize(
    ("more", "why"),
    [({"state": {}}, "cannot be read"), ({"plan_offset": 9}, "tells nothing new")],
)
def test_a_snapshot_that_is_none_tells_nothing(more, why):
    told = carried(Log(PLAN), as_of=3, **more)
    later = Log()
    later.offset = 5
    assert later.tell(told) == "unplanned"
    assert why in (later.view.refused or "")


def test_where_the_plan_was_read_its_snapshots_tell_nothing_new():
    log = Log(PLAN)
    log.tell(carried(log, as_of=0))
    assert (log.view.refused, log.view.since) == ("a snapshot tells nothing new", None)


def test_a_cancel_before_the_plan_ends_the_run_as_its_coordinator_has_it():
    log = Log(CancelRequested(run_id="r", reason="enough"))
    assert (log.view.status, log.line) == ("unplanned", "unplanned")
    log.tell(PLAN)
    assert log.view.run is not None
    assert {s.phase.value for s in log.view.run.order} == {"cancelled"}
    assert log.line == "stopping"


def test_both_tell_of_a_fork_where_it_comes_from():
    log = Log(forked("a", "b<a", inherited={"a": 1}))
    assert (log.view.status, log.line) == ("running", "running")
    assert log.view.forked is not None
    assert log.view.forked.changed == ["model=large"]
    summary = log.listed.summary()
    assert (summary.forked_from, summary.steps, summary.tags) == ("o", 2, {"who": "me"})
    log.tell(PLAN)  # the first beginning counts
    assert log.view.refused is not None
    log.tell(ok("b", 2))
    log.tell(log.end())
    assert (log.view.status, log.line) == ("completed", "completed")


def test_a_list_reads_what_steps_of_a_fork_tell_that_ask_people():
    listing = Listing()
    fork = forked("a", Step(id="f", agent="human", depends_on=["a"]), inherited={"a": 1})
    envelope = Envelope("r/run_forked", fork.CE_TYPE, "test", "r", BEGIN_MS)
    listing.add(Received(Origin("events", 0, 0), BEGIN_MS, b"r", envelope, fork))
    progress = SimpleNamespace(
        key=b"r", headers=[("ce_type", StepProgress.CE_TYPE.encode())], offset=1
    )
    assert listing.wants(progress)


def test_a_fork_whose_beginning_is_gone_is_seen_from_its_snapshot():
    log = Log(forked("a", "b<a", "c<b", inherited={"a": 1}), ok("b", 2))
    assert log.view.run is not None
    carried = RunSnapshot(run_id="r", as_of=1, plan_offset=0, state=save(log.view.run))
    later = Log()
    later.offset = 2
    later.tell(carried)
    assert later.view.run is not None
    assert later.view.run.forked_from == ("o", 41)
    assert later.view.run.steps["a"].inherited
