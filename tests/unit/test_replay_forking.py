"""Making a fork of a run: what is kept, what is done anew, and what cannot be forked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.runs import BEGIN_MS, failed, ok, started, step, steps_of
from support.sagas import did, undone

from starlings.choreography import DecisionKind, begin, fold, message_for
from starlings.choreography.outputs import run_done
from starlings.choreography.snapshot import save
from starlings.kafka.codec import Received
from starlings.messages import (
    AgentDefined,
    Amendment,
    CommandRefused,
    ConfigError,
    Envelope,
    FailurePolicy,
    ForEach,
    Message,
    ModelOverride,
    Origin,
    Plan,
    PlanAmended,
    PlanCreated,
    PlanInvalid,
    PlanRejected,
    Problem,
    RetryPolicy,
    RunForked,
    RunOptions,
    RunOutcome,
    RunSnapshot,
    Step,
    Timeouts,
)
from starlings.replay.entries import Entry
from starlings.replay.forking import Known, Wishes, fork_of
from starlings.replay.recorded import RecordedRun

KNOWN = Known(
    agents={"math": AgentDefined(agent="math"), "writer": AgentDefined(agent="writer")},
    alive={"math"},
    variants={("math", "v2"), ("writer", "v2")},
)
FIRST = 40  # offset of the run's first fact


class Log:
    """Facts of a run, as a source delivers them."""

    def __init__(self, *specs: str | Step, **options: Any) -> None:
        options.setdefault("on_failure", FailurePolicy.STOP)
        steps = [s if isinstance(s, Step) else steps_of(s)[0] for s in specs]
        plan = PlanCreated(
            run_id="r",
            request="please",
            plan=Plan(steps=steps),
            options=RunOptions(**options),
            tags={"who": "me"},
        )
        self.facts: list[Message | None] = [plan] if specs else []
        self.lost: dict[int, str] = {}

    def tell(self, *facts: Message) -> Log:
        self.facts += facts
        return self

    def lose(self, ident: str, *, kind: str = "step_done") -> Log:
        self.lost[len(self.facts)] = ident
        self.facts.append(None)
        self.kind = kind
        return self

    def recorded(self, until: int | None = None, first: int = FIRST) -> RecordedRun:
        told = RecordedRun("r", until)
        for number, fact in enumerate(self.facts):
            offset = first + number
            if fact is None:
                kind = f"starlings.{self.kind}.v1".encode()
                headers = [("ce_type", kind), ("ce_id", self.lost[number].encode())]
                record: Any = SimpleNamespace(
                    offset=offset, topic="events", partition=0, headers=headers, key=b"r"
                )
                told.add(Entry(record, problem="its blob is gone"))
                continue
            at_ms = BEGIN_MS + number
            envelope = Envelope(f"r/{number}", fact.CE_TYPE, "test", "r", at_ms)
            received = Received(Origin("events", 0, offset), at_ms, b"r", envelope, fact)
            told.add(Entry(SimpleNamespace(offset=offset, topic="events"), received))
        return told

    def fork(self, *, until: int | None = None, known: Known = KNOWN, **wishes: Any) -> RunForked:
        told = self.recorded(until)
        return fork_of(told, Wishes(**wishes), run_id="f", known=known, requested_by="Ann")


def kept(fact: RunForked) -> dict[str, Any]:
    return {result.step_id: result.output for result in fact.inherited}


def half(*specs: str | Step, **options: Any) -> Log:
    log = Log(*(specs or ("a", "b<a", "c<b", "d")), **options)
    return log.tell(ok("a", 1), ok("b", 2), ok("d", 4))


def begun(fact: RunForked) -> list[str]:
    """Begin a fork, as the coordinator does; say what it releases."""
    run, change = begin(fact, offset=1, at_ms=BEGIN_MS)
    assert not run.problems
    ready = [d for d in change.decisions if d.kind is DecisionKind.RELEASE]
    assert all(message_for(run, decision).run_id == "f" for decision in ready)
    return [decision.step_id or "" for decision in ready]


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


# -- bad forks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"task": "otherwise"}, {"timeouts": {"run_s": 1}}, {"task": 7}])
def test_a_plan_that_changes_what_is_kept_is_refused_naming_the_step(change):
    plan = [{"id": "b", "agent": "math", "task": "do b", "depends_on": ["a"], **change}]
    with pytest.raises(PlanInvalid) as invalid:
        half().fork(plan=plan)
    (problem,) = invalid.value.problems
    assert (problem.code, problem.step) == ("inherited_changed", "b")
    assert "--from-step b" in problem.remedy
    assert Timeouts(run_s=1) != Timeouts()


def test_a_plan_that_makes_no_sense_is_refused_with_every_problem():
    plan = [{"id": "x", "agent": "math", "task": "", "depends_on": ["no"]}, {"id": "y"}]
    with pytest.raises(PlanInvalid) as invalid:
        half().fork(plan=plan)
    assert {"unknown_dependency", "missing_field"} <= {p.code for p in invalid.value.problems}
    for nothing in ("words", {"steps": "many"}, 7):
        with pytest.raises(PlanInvalid):
            half().fork(plan=nothing)


@pytest.mark.parametrize(
    ("variants", "code"),
    [
        ({"math": "v9"}, "variant_not_alive"),
        ({"cook": "v2"}, "unused_agent"),
        ({"writer": "v2"}, "unused_agent"),
    ],
)
def test_an_agent_or_variant_that_nobody_knows_is_refused(variants, code):
    with pytest.raises(PlanInvalid) as invalid:
        half().fork(variants=variants)
    assert [p.code for p in invalid.value.problems] == [code]


def test_agents_of_what_is_done_anew_have_to_be_there_and_those_of_what_is_kept_need_not():
    nobody = Known(agents={}, alive=(), variants=())
    with pytest.raises(PlanInvalid) as invalid:
        half().fork(known=nobody)
    assert [(p.code, p.step) for p in invalid.value.problems] == [("unknown_agent", "c")]
    gone = half(step("a", agent="gone"), "b<a", "c<b", "d")
    assert begun(gone.fork()) == ["c"]


def test_a_step_that_has_never_run_is_nothing_to_go_on_from():
    with pytest.raises(CommandRefused, match="step 'c' has never run, it is waiting"):
        Log("a", "b<a", "c<b").tell(ok("a")).fork(from_step="c")
    with pytest.raises(ConfigError, match="no step 'z'; there are: a, b, c, d"):
        half().fork(from_step="z")


def test_a_run_all_of_which_would_be_kept_is_nothing_to_fork():
    with pytest.raises(CommandRefused, match="nothing would run"):
        half().tell(ok("c", 3)).fork()


def test_what_is_kept_cannot_be_set_nor_what_is_not_there():
    with pytest.raises(ConfigError, match=r"step 'a' is inherited.*--from-step a"):
        half().fork(steps={"a": {"task": "x"}})
    with pytest.raises(ConfigError, match="there is no step 'z'"):
        half().fork(steps={"z": {"task": "x"}})


def test_a_run_that_is_not_there_or_had_not_begun_cannot_be_forked():
    with pytest.raises(CommandRefused, match="no fact of it is there"):
        Log().fork()
    with pytest.raises(CommandRefused, match="had not begun by offset 3: its facts begin at 40"):
        half().fork(until=3)


def test_a_rejected_run_has_nothing_to_go_on_with():
    problem = Problem(code="x", message="no", remedy="else")
    with pytest.raises(CommandRefused, match="it was rejected"):
        Log().tell(PlanRejected(run_id="r", problems=[problem])).fork()


def carried(log: Log) -> tuple[Log, Log]:
    """Tell a log whose beginning is gone, and the same after its snapshot."""
    run = log.recorded().now.run
    assert run is not None
    state = RunSnapshot(run_id="r", as_of=FIRST - 1, plan_offset=3, state=save(run))
    return Log().tell(ok("a", 1)), Log().tell(state)


def test_a_run_whose_beginning_is_gone_is_forked_from_its_snapshot():
    _, later = carried(half())
    assert kept(later.tell(ok("c", 3)).fork(from_step="c")) == {"a": 1, "b": 2, "d": 4}


def test_where_no_snapshot_tells_of_a_beginning_that_is_gone_an_archive_is_asked_for():
    without, _ = carried(half())
    with pytest.raises(CommandRefused, match=r"beginning of run r is gone.*--from FILE"):
        without.fork()
    _, later = carried(half())
    early = Log().tell(ok("c", 3), *later.facts)
    with pytest.raises(CommandRefused, match=r"complete from offset 40.*--from FILE"):
        early.fork(until=FIRST)


def test_a_result_that_cannot_be_read_is_done_anew_only_where_somebody_says_so():
    log = Log("a", "b<a", "c<b").tell(ok("a", 1)).lose("r/b/1/step_done").tell(started("c"))
    with pytest.raises(
        CommandRefused, match=r"result of step 'b' cannot be read \(its blob is gone"
    ):
        log.fork()
    with pytest.raises(CommandRefused, match="result of step 'b' cannot be read"):
        log.fork(from_step="c")
    assert begun(log.fork(from_step="b")) == ["b"]
    assert begun(log.fork(until=FIRST + 1)) == ["b"]


def test_a_plan_that_cannot_be_read_is_said_so():
    log = Log().lose("r/plan_created", kind="plan_created").tell(ok("a"))
    with pytest.raises(CommandRefused, match="plan_created its blob is gone"):
        log.fork()
    alone = Log().lose("r/plan_created", kind="plan_created")
    with pytest.raises(CommandRefused, match="its blob is gone"):
        alone.fork()


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
