"""What cannot be forked, and forks that make no sense, are refused with what to do."""

from __future__ import annotations

import pytest
from support.recorded_run import FIRST, Log, begun, half, kept
from support.runs import ok, started, step

from starlings.choreography.snapshot import save
from starlings.messages import (
    CommandRefused,
    ConfigError,
    PlanInvalid,
    PlanRejected,
    Problem,
    RunSnapshot,
)
from starlings.replay.forking import Known


@pytest.mark.parametrize("change", [{"task": "otherwise"}, {"timeouts": {"run_s": 1}}, {"task": 7}])
def test_a_plan_that_changes_what_is_kept_is_refused_naming_the_step(change):
    plan = [{"id": "b", "agent": "math", "task": "do b", "depends_on": ["a"], **change}]
    with pytest.raises(PlanInvalid) as invalid:
        half().fork(plan=plan)
    (problem,) = invalid.value.problems
    assert (problem.code, problem.step) == ("inherited_changed", "b")
    assert "--from-step b" in problem.remedy


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
    unread = without.lose("r/run_done", kind="run_done")
    with pytest.raises(CommandRefused, match=r"beginning of run r is gone.*--from FILE"):
        unread.fork()


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
