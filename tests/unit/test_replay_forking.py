"""Making a fork of a run: what is kept, and what is done anew."""

from __future__ import annotations

import pytest
from support.recorded_run import FIRST, KNOWN, Log, begun, half, kept
from support.runs import BEGIN_MS, failed, ok, started, step
from support.sagas import did, undone

from starlings.choreography import begin, fold, message_for
from starlings.choreography.outputs import run_done
from starlings.choreography.snapshot import save
from starlings.messages import (
    AgentDefined,
    Amendment,
    ConfigError,
    ForEach,
    ModelOverride,
    PlanAmended,
    RetryPolicy,
    RunOutcome,
)
from starlings.replay.forking import Known, Wishes, fork_of

# -- what is kept ----------------------------------------------------------------------------------


def test_what_is_done_is_kept_and_what_was_at_work_is_done_anew():
    fact = half().tell(started("c")).fork()
    assert kept(fact) == {"a": 1, "b": 2, "d": 4}
    assert begun(fact) == ["c"]
    assert (fact.run_id, fact.from_run, fact.from_offset) == ("f", "r", FIRST + 4)
    assert (fact.request, fact.tags, fact.requested_by) == ("please", {"who": "me"}, "Ann")


def test_from_a_step_on_it_and_what_depends_on_it_is_done_anew_and_nothing_else():
    fact = half().tell(ok("c", 3)).fork(from_step="b")
    assert kept(fact) == {"a": 1, "d": 4}
    assert begun(fact) == ["b"]
    assert fact.changed == ["from step b"]


def test_as_of_an_offset_what_was_done_by_then_is_kept():
    log = half().tell(ok("c", 3))
    assert kept(log.fork(until=FIRST + 1)) == {"a": 1}
    assert log.fork(until=FIRST + 1).from_offset == FIRST + 1
    assert kept(log.fork(until=FIRST)) == {}
    both = log.fork(until=FIRST + 2, from_step="b")
    assert kept(both) == {"a": 1}
    late = half().fork(until=10_000)
    assert late.from_offset == FIRST + 3, "no fact behind the last one was looked at"


def test_what_failed_is_done_anew_with_all_that_was_built_on_it():
    log = Log("a", "b<a", "c<b", on_failure="continue")
    fact = log.tell(failed("a"), ok("b", 2)).fork()
    assert (kept(fact), begun(fact)) == ({}, ["a"])


def test_summaries_and_skipped_steps_are_kept():
    never = step("b", "a", when={"value": "{{steps.a.output}}", "equals": 9})
    log = Log("a", never, "c<a,b").tell(ok("a", 1, summary="one"))
    fact = log.fork()
    assert [(r.step_id, r.summary, r.skipped) for r in fact.inherited] == [
        ("a", "one", False),
        ("b", None, True),
    ]
    assert begun(fact) == ["c"]


def test_what_has_been_undone_since_is_done_anew_even_where_it_stood_then():
    log = Log("a", "b<a", "c<b", on_failure="compensate")
    log.tell(did("a"), ok("b", 2), failed("c"))
    assert kept(log.fork(until=FIRST + 2)) == {}, "a is to be undone"
    log.tell(undone("a"))
    assert kept(log.fork(until=FIRST + 2)) == {}
    assert begun(log.fork()) == ["a"]


def test_a_deadline_is_not_taken_over_and_all_other_choices_are():
    log = half(timeout_s=9, deadline="2020-01-01T00:00:00Z", budget={"tokens": 5})
    options = log.fork(from_step="a").options
    assert (options.deadline, options.timeout_s) == (None, 9)
    assert options.budget is not None


# -- lists -----------------------------------------------------------------------------------------


def listed(*, reopened: bool = False) -> Log:
    do = step("do", "a", foreach=ForEach(items="{{steps.a.output}}"))
    log = Log("a", do, "c<do").tell(ok("a", [1, 2, 3]), ok("do[0]", 2), ok("do[2]", 6))
    return log.tell(ok("do[1]", 4), ok("c", 12)) if reopened else log


def test_items_that_are_done_are_kept_of_a_list_that_is_not():
    fact = listed().fork()
    assert kept(fact) == {"a": [1, 2, 3], "do[0]": 2, "do[2]": 6}
    assert begun(fact) == ["do[1]"]


def test_a_list_that_is_done_is_kept_as_one():
    fact = listed(reopened=True).fork(from_step="c")
    assert kept(fact) == {"a": [1, 2, 3], "do": [2, 4, 6]}


def test_one_item_may_be_done_anew_and_what_depends_on_its_list():
    fact = listed(reopened=True).fork(from_step="do[1]")
    assert kept(fact) == {"a": [1, 2, 3], "do[0]": 2, "do[2]": 6}
    assert begun(fact) == ["do[1]"]


def test_a_list_that_is_chosen_or_changed_or_depends_on_what_is_done_anew_is_done_from_the_start():
    for wishes in (
        {"from_step": "do"},
        {"from_step": "do[1]", "steps": {"do": {"task": "otherwise"}}},
    ):
        fact = listed(reopened=True).fork(**wishes)
        assert kept(fact) == {"a": [1, 2, 3]}, wishes
        assert begun(fact) == ["do[0]", "do[1]", "do[2]"]
    assert kept(listed(reopened=True).fork(from_step="a")) == {}


# -- plans that have been changed ------------------------------------------------------------------


def amended() -> Log:
    wish = Amendment(add=[step("w")])
    log = Log("a", "b<a").tell(ok("a", 1, amendment=wish))
    return log.tell(PlanAmended(run_id="r", step_id="a", attempt=1, amendment=wish), ok("w", 7))


def test_steps_that_were_added_are_kept():
    fact = amended().fork()
    assert kept(fact) == {"a": 1, "w": 7}
    assert {s.id: s.depends_on for s in fact.plan.steps}["b"] == ["a", "w"]


def test_what_a_step_has_added_is_gone_where_it_is_done_anew():
    fact = amended().fork(from_step="a")
    assert {s.id: s.depends_on for s in fact.plan.steps} == {"a": [], "b": ["a"]}
    assert begun(fact) == ["a"]


def test_steps_that_were_removed_are_gone():
    wish = Amendment(remove=["b"])
    log = Log("a", "b<a", "c<a").tell(ok("a", 1, amendment=wish))
    log.tell(PlanAmended(run_id="r", step_id="a", attempt=1, amendment=wish))
    fact = log.fork()
    assert [s.id for s in fact.plan.steps] == ["a", "c"]
    with pytest.raises(ConfigError, match="no step 'b'"):
        log.fork(from_step="b")


# -- what is otherwise -----------------------------------------------------------------------------


def test_models_are_asked_otherwise_by_the_whole_fork_and_by_single_steps():
    log = half(model=ModelOverride(model="small", prompt="Be brief."))
    fact = log.fork(
        from_step="b",
        model={"model": "large", "temperature": 0.5},
        steps={"c": {"model": "huge"}},
    )
    assert fact.options.model == ModelOverride(model="large", temperature=0.5, prompt="Be brief.")
    steps = {s.id: s for s in fact.plan.steps}
    assert steps["c"].model == ModelOverride(model="huge")
    assert steps["b"].model is None
    said = ["from step b", "model=large", "temperature=0.5", "c.model=huge"]
    assert fact.changed == said


def test_a_step_is_given_another_task_and_input():
    fact = half().fork(from_step="b", steps={"b": {"task": "do it well", "input": {"n": 1}}})
    steps = {s.id: s for s in fact.plan.steps}
    assert (steps["b"].task, steps["b"].input) == ("do it well", {"n": 1})


def test_an_agent_is_replaced_by_its_variant_which_goes_before_an_escalation():
    log = half(
        "a",
        step("b", "a", retry=RetryPolicy(attempts=2, escalate=["default", "large"])),
        "c<b",
        "d",
    )
    fact = log.fork(from_step="b", variants={"math": "v2"})
    assert fact.options.routing == {"math": {"v2": 1.0}}
    run, change = begin(fact, offset=1, at_ms=BEGIN_MS)
    assert message_for(run, change.decisions[0]).variant == "v2"
    assert fact.plan.steps[1].retry == RetryPolicy(attempts=2)
    assert fact.changed[-1] == "math=v2"


def test_the_run_s_own_escalation_gives_way_too():
    policy = RetryPolicy(attempts=4, escalate=["large"])
    fact = half(retry=policy).fork(from_step="b", variants={"math": "v2"})
    assert {s.id: s.retry and s.retry.escalate for s in fact.plan.steps}["b"] == []
    usual = half(retry=policy).fork(from_step="b", variants={"math": "default"})
    assert usual.options.routing == {"math": {"default": 1.0}}


def test_a_plan_takes_the_place_of_all_that_is_not_kept():
    plan = {
        "steps": [{"id": "e", "agent": "math", "task": "{{steps.b.output}}", "depends_on": ["b"]}]
    }
    fact = half().fork(plan=plan)
    assert [s.id for s in fact.plan.steps] == ["a", "b", "d", "e"]
    assert (begun(fact), fact.changed) == (["e"], ["another plan"])


def test_a_plan_may_say_again_what_is_kept_if_it_says_the_same():
    again = [{"id": "a", "agent": "math", "task": "do a"}]
    new = [{"id": "c", "agent": "math", "task": "otherwise", "depends_on": ["b"]}]
    fact = half().fork(plan=[*again, *new])
    assert [s.id for s in fact.plan.steps] == ["a", "b", "d", "c"]
    assert kept(fact) == {"a": 1, "b": 2, "d": 4}


def test_agents_own_retries_are_written_into_new_steps_as_planners_do():
    own = RetryPolicy(attempts=7)
    agents = {"math": AgentDefined(agent="math", retry=own)}
    known = Known(agents=agents, alive={"math"}, variants=())
    plan = [{"id": "a", "agent": "math", "task": "do a"}, {"id": "e", "agent": "math", "task": "x"}]
    fact = half().fork(plan=plan, known=known)
    assert {s.id: s.retry for s in fact.plan.steps} == {"a": None, "b": None, "d": None, "e": own}
    other = half(retry=RetryPolicy(attempts=2)).fork(plan=plan, known=known)
    assert {s.retry for s in other.plan.steps} == {None}


# -- runs that have ended, and forks ---------------------------------------------------------------


def test_an_end_that_cannot_be_read_hinders_nobody():
    log = half().lose("r/run_done", kind="run_done")
    assert begun(log.fork()) == ["c"]


def test_a_fork_may_be_forked():
    first = half().fork(from_step="b")
    again = Log().tell(first.model_copy(update={"run_id": "r"}), ok("b", 5))
    fact = again.fork(from_step="b")
    assert kept(fact) == {"a": 1, "d": 4}
    inherited_too = again.fork(from_step="a")
    assert (kept(inherited_too), begun(inherited_too)) == ({"d": 4}, ["a"])


def test_the_original_is_only_read():
    log = half()
    told = log.recorded()
    assert told.now.run is not None
    before = save(told.now.run)
    fork_of(told, Wishes(from_step="a"), run_id="f", known=KNOWN)
    assert save(told.now.run) == before


def test_a_run_that_has_ended_is_forked_as_well():
    log = half().tell(ok("c", 3))
    run = log.recorded().now.run
    assert run is not None
    log.tell(run_done(run))
    assert run.outcome is RunOutcome.COMPLETED
    assert begun(log.fork(from_step="c")) == ["c"]
    assert fold(run, ok("z"), at_ms=BEGIN_MS) is not None
