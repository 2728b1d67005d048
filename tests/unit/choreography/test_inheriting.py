"""Beginning a run on results of another one: what counts as done, and what is never undone."""

from __future__ import annotations

from typing import Any

import pytest
from support.forks import forked
from support.partition import Reader, done, end, ids
from support.runs import BEGIN_MS, Story, asks, failed, ok, step, steps_of, waits
from support.sagas import did, undone

from starlings.choreography import (
    DecisionKind,
    Ignored,
    Recorded,
    RunPhase,
    begin,
    fold,
    message_for,
    obligations,
    reopen,
    retell,
    snapshot,
)
from starlings.messages import (
    Amendment,
    AmendmentProposed,
    ApprovalGiven,
    CancelRequested,
    Compensation,
    Condition,
    FailurePolicy,
    ForEach,
    InheritedResult,
    ModelOverride,
    Plan,
    PlanAmended,
    PlanCreated,
    ReplanRequested,
    RetryRequested,
    RunOutcome,
    RunSnapshot,
    Step,
    StepReady,
    TimerKind,
)

UNDONE_BY = Compensation(agent="math", task="take it back")


class Fork(Story):
    """The story of a run that begins with a fork."""

    def __init__(self, *specs: str | Step, inherited: dict[str, Any], **more: Any) -> None:
        cancel = more.pop("cancel", None)
        self.fact = forked(*specs, inherited=inherited, **more)
        self.run, self.change = begin(self.fact, offset=7, at_ms=BEGIN_MS, cancel=cancel)


def listed(*, items: Any = "{{steps.a.output}}", **more: Any) -> Step:
    return step("do", "a", foreach=ForEach(items=items, **more))


# -- what is inherited -----------------------------------------------------------------------------


def test_what_is_inherited_counts_as_done_and_the_rest_begins_with_its_results():
    fork = Fork("a", "b<a", "c<b", inherited={"a": [1, 2]})
    assert fork.phases() == {"a": "done", "b": "released", "c": "waiting"}
    assert ids(fork.change) == ["r/b/1/step_ready"]
    ready = message_for(fork.run, fork.change.decisions[0])
    assert isinstance(ready, StepReady)
    assert (ready.context[0].output, ready.context[0].summary) == ([1, 2], "[1, 2]")
    assert (fork.run.request, fork.run.tags, fork.run.forked_from) == (
        "please",
        {"who": "me"},
        ("o", 41),
    )


def test_a_summary_that_was_told_is_inherited_as_it_was():
    said = InheritedResult(step_id="a", output=1, summary="one")
    fork = Fork("a", "b<a", inherited={"a": said})
    assert fork.run.steps["a"].summary == "one"


def test_the_end_tells_what_was_inherited_and_only_what_this_run_has_used():
    fork = Fork("a", "b<a", inherited={"a": 1})
    fork.tell(ok("b", 2))
    told = {s.step_id: (s.state, s.attempts, s.inherited) for s in fork.end.steps}
    assert told == {"a": ("done", 0, True), "b": ("done", 1, False)}
    assert fork.end.usage is None
    document = fork.end.model_dump(mode="json")
    assert "inherited" in document["steps"][0]
    assert "inherited" not in document["steps"][1]


def test_a_run_that_inherits_everything_ends_at_once():
    fork = Fork("a", "b<a", inherited={"a": 1, "b": 2})
    assert (fork.end.outcome, fork.end.output) == (RunOutcome.COMPLETED, 2)
    assert ids(fork.change) == ["r/run_done"]


def test_a_step_that_was_skipped_stays_so_and_is_not_said_to_be_skipped_again():
    few = Condition(value="{{steps.a.output}}", less_than=5)
    fork = Fork(
        "a",
        step("b", "a", when=few),
        "c<a",
        "d<b,c",
        inherited={"a": 9, "b": InheritedResult(step_id="b", skipped=True), "c": 1},
    )
    assert fork.phases() == {"a": "done", "b": "skipped", "c": "done", "d": "released"}
    assert ids(fork.change) == ["r/d/1/step_ready"]


def test_answers_of_people_and_signals_are_inherited_as_results():
    fork = Fork(asks(), waits("paid"), "a<ok,paid", inherited={"ok": {"approved": True}, "paid": 5})
    assert fork.phases() == {"ok": "done", "paid": "done", "a": "released"}
    approval = ApprovalGiven(run_id="r", step_id="ok", approved=False)
    assert isinstance(fork.tell(approval), Ignored)


def test_deadline_budget_and_timers_are_counted_from_the_beginning_of_the_fork():
    fork = Fork("a", "b<a", inherited={"a": 1}, timeout_s=9, budget={"wall_time_s": 5})
    assert fork.timers() == {"deadline": 9}
    assert fork.run.began_ms == fork.run.opened_ms == BEGIN_MS


def test_a_cancel_that_came_before_the_fork_ends_it_before_anything_begins():
    fork = Fork("a", "b<a", inherited={"a": 1}, cancel=CancelRequested(run_id="r"))
    assert fork.phases() == {"a": "done", "b": "cancelled"}
    assert fork.end.outcome is RunOutcome.CANCELLED


def test_steps_are_told_how_their_models_are_asked_by_the_run_and_by_themselves():
    of_run = ModelOverride(model="large", temperature=0.5)
    own = step("b", model=ModelOverride(model="own", prompt="Be brief."))
    fork = Fork("a", own, inherited={}, model=of_run)
    told = {d.step_id: message_for(fork.run, d) for d in fork.change.decisions}
    assert told["a"].model == of_run
    both = {"model": "own", "temperature": 0.5, "prompt": "Be brief."}
    assert told["b"].model.model_dump() == both
    alone = Fork("a", own, inherited={})
    plain, kept = (message_for(alone.run, d) for d in alone.change.decisions)
    assert kept.model == own.model
    assert b"model" not in plain.as_json()


# -- lists -----------------------------------------------------------------------------------------


def test_a_list_is_inherited_as_a_whole():
    fork = Fork("a", listed(), "c<do", inherited={"a": [1, 2], "do": [2, 4]})
    assert fork.phases() == {"a": "done", "do": "done", "c": "released"}


def test_items_that_were_done_are_inherited_and_the_others_are_done_here():
    fork = Fork(
        "a",
        listed(max_parallel=1),
        "c<do",
        inherited={"a": [1, 2, 3], "do[0]": 2, "do[2]": 6},
    )
    assert ids(fork.change) == ["r/do[1]/1/step_ready"]
    assert fork.run.steps["do[2]"].inherited
    fork.tell(ok("do[1]", 4))
    assert fork.run.steps["do"].output == [2, 4, 6]
    assert fork.phases()["c"] == "released"


def test_a_list_all_of_whose_items_are_inherited_is_joined_at_once():
    fork = Fork("a", listed(), "c<do", inherited={"a": [1], "do[0]": 2})
    assert (fork.run.steps["do"].output, fork.phases()["c"]) == ([2], "released")


def test_an_item_that_the_list_does_not_have_is_left_out():
    fork = Fork("a", listed(), "c<do", inherited={"a": [1], "do[0]": 2, "do[7]": 3})
    assert "do[7]" not in fork.run.steps
    assert fork.run.steps["do"].output == [2]


def test_items_of_what_is_no_list_any_more_let_their_step_fail_as_without_them():
    fork = Fork("a", listed(), "c<do", inherited={"a": "none", "do[0]": 2})
    assert fork.phases() == {"a": "done", "do": "failed", "c": "cancelled"}
    assert fork.end.error is not None
    assert fork.end.error.code == "foreach_not_a_list"


# -- what belongs to the other run -----------------------------------------------------------------


def test_what_is_inherited_is_never_undone_whatever_the_plan_says_of_it():
    fork = Fork(
        step("a", compensate=UNDONE_BY),
        "b<a",
        "c<b",
        inherited={"a": 1},
        on_failure=FailurePolicy.COMPENSATE,
    )
    fork.tell(did("b"), failed("c"))
    assert [d.id for d in fork.owed(DecisionKind.UNDO)] == ["r/b/1/compensation_ready/1"]
    fork.tell(undone("b"))
    assert fork.end.outcome is RunOutcome.COMPENSATED
    assert fork.end.steps[0].undone == []


@pytest.mark.parametrize("attempt", [0, 1])
def test_a_result_of_what_is_inherited_says_nothing_and_leads_to_nothing(attempt):
    fork = Fork("a", "b<a", inherited={"a": 1}, on_failure=FailurePolicy.COMPENSATE)
    late = ok("a", 5, attempt=attempt, compensation=UNDONE_BY)
    assert isinstance(fork.tell(late), Ignored)
    assert (fork.run.steps["a"].output, fork.run.undos) == (1, {})


def test_what_is_planned_anew_is_done_here_and_nothing_of_the_other_run_is_undone():
    fork = Fork(step("a", compensate=UNDONE_BY), "b<a", inherited={"a": 1}, on_failure="compensate")
    fork.tell(ReplanRequested(run_id="r", text="a is wrong"))
    amendment = Amendment(invalidate=["a"])
    fork.tell(AmendmentProposed(run_id="r", number=1, amendment=amendment))
    fork.tell(PlanAmended(run_id="r", replan=1, amendment=amendment))
    fork.fire(TimerKind.SETTLE)
    assert (fork.phases(), fork.run.undos) == ({"a": "released", "b": "waiting"}, {})
    assert not fork.run.steps["a"].inherited
    fork.tell(did("a"), ok("b", attempt=2))
    assert fork.end.outcome is RunOutcome.COMPLETED


def test_a_fork_that_failed_goes_on_with_what_it_has_inherited():
    skipped = InheritedResult(step_id="s", skipped=True)
    never = Condition(value="{{steps.a.output}}", equals=2)
    fork = Fork("a", "b<a", step("s", "a", when=never), inherited={"a": 1, "s": skipped})
    fork.tell(failed("b"))
    fork.tell(fork.end)
    word = RetryRequested(run_id="r", generation=1, plan_offset=7, state=snapshot.save(fork.run))
    reopened = reopen(word, at_ms=BEGIN_MS)
    assert not isinstance(reopened, Ignored)
    fork.run, change = reopened
    assert ids(change) == ["r/s/step_skipped/1", "r/b/2/step_ready"]
    assert fork.run.steps["a"].inherited
    assert not fork.run.steps["s"].inherited


# -- bad forks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "inherited", "code"),
    [
        (("a",), {"x": 1}, "unknown_step"),
        (("a",), {"a[0]": 1}, "unknown_step"),
        (("a", "b<a"), {"b": 1}, "inherited_in_part"),
        (("a", listed()), {"do[0]": 1}, "inherited_in_part"),
        (("a", listed()), {"a": [1], "do": [1], "do[0]": 1}, "part_of_inherited"),
        (("a<a",), {"a": 1}, "self_dependency"),
    ],
)
def test_a_fork_that_contradicts_itself_is_rejected(specs, inherited, code):
    fork = Fork(*specs, inherited=inherited)
    assert fork.end.outcome is RunOutcome.REJECTED
    assert code in [p.code for p in fork.end.problems]
    assert ids(fork.change) == ["r/run_done"]


def test_what_is_inherited_twice_is_rejected():
    fact = forked("a", inherited={"a": 1})
    twice = fact.model_copy(update={"inherited": [*fact.inherited, *fact.inherited]})
    run, _ = begin(twice, offset=7, at_ms=BEGIN_MS)
    assert [p.code for p in run.problems] == ["duplicate_id"]


def test_of_a_million_problems_a_thousand_are_told():
    fact = forked("a", inherited={})
    many = [InheritedResult(step_id=f"x{number}") for number in range(3_000)]
    run, _ = begin(fact.model_copy(update={"inherited": many}), offset=7, at_ms=BEGIN_MS)
    assert len(run.problems) == 1_000


# -- on the log ------------------------------------------------------------------------------------


def test_a_second_beginning_of_a_run_changes_nothing_whichever_it_is():
    fork = Fork("a", "b<a", inherited={"a": 1})
    planned = PlanCreated(run_id="r", plan=Plan(steps=steps_of("z")))
    for again in (fork.fact, planned):
        assert fold(fork.run, again, at_ms=BEGIN_MS) == Ignored(
            "the run has its plan: the first one in the log counts"
        )


def test_a_snapshot_of_a_fork_restores_it_field_for_field():
    fork = Fork("a", listed(), "c<do", inherited={"a": [1, 2], "do[0]": 2})
    state = RunSnapshot(run_id="r", as_of=9, plan_offset=7, state=snapshot.save(fork.run))
    again = snapshot.load("r", 7, RunSnapshot.model_validate_json(state.model_dump_json()).state)
    assert again == fork.run


def test_a_ledger_knows_a_fork_as_it_knows_a_plan():
    reader = Reader()
    fact = forked("a", "b<a", inherited={"a": 1})
    assert ids(reader.read(fact)) == ["r/b/1/step_ready"]
    assert reader.ledger.restore_from() == 0
    assert reader.read(fact) == Ignored("the run has its plan: the first one in the log counts")
    assert ids(reader.read(done("r", "b"))) == ["r/run_done"]
    reader.read(end("r"))
    assert reader.read(fact) == Ignored("the run has ended")
    assert list(reader.ledger.repeated) == ["r"], "whose end is to be said again"


def test_a_reader_that_begins_behind_a_fork_knows_it_from_its_snapshot():
    reader = Reader()
    reader.read(forked("a", "b<a", "c<b", inherited={"a": 1}), done("r", "b"))
    later = Reader(2, recovering=True)
    later.read(reader.carried("r"))
    later.ledger.finish_recovery()
    assert later.ledger.runs == reader.ledger.runs
    assert later.ledger.runs["r"].forked_from == ("o", 41)
    owed, _ = obligations(later.ledger.runs["r"])
    assert "r/c/1/step_ready" in [d.id for d in owed]


def test_a_run_is_retold_from_its_fork():
    facts = [forked("a", "b<a", inherited={"a": 1}), ok("b", 2)]
    run = retell(Recorded(7 + n, BEGIN_MS, fact) for n, fact in enumerate(facts))
    assert run is not None
    assert (run.plan_offset, run.phase) == (7, RunPhase.ENDING)
