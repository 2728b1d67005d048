"""A step that is done for each item of a list: fan-out, join, failures, undoing, limits."""

from __future__ import annotations

import json
import time

import pytest
from support.recovery.coordinator import plain
from support.runs import BEGIN_MS, CANCEL, Story, asks, failed, ok, step
from support.sagas import Saga, did, undone

from starlings.choreography import (
    DecisionKind,
    check_plan,
    message_for,
    reopen,
    resolve,
    snapshot,
)
from starlings.choreography.confirming import record_end
from starlings.choreography.transitions import RunPhase
from starlings.messages import (
    Condition,
    FailurePolicy,
    ForEach,
    Plan,
    RetryRequested,
    RunOutcome,
    StepReady,
)

CONTINUE, SKIP, STOP = (
    FailurePolicy.CONTINUE,
    FailurePolicy.SKIP_DEPENDENTS,
    FailurePolicy.STOP,
)
LIST = "{{steps.list.output}}"


def each(items: object = LIST, *after: str, most: int | None = None, **more: object) -> object:
    depends_on = after or (("list",) if items == LIST else ())
    foreach = ForEach(items=items, max_parallel=most)
    return step("do", *depends_on, foreach=foreach, **{"task": "do {{item}}"} | more)


def released(story: Story) -> list[str]:
    return [d.step_id for d in story.owed(DecisionKind.RELEASE)]


def work(story: Story, step_id: str) -> StepReady:
    decision = next(d for d in story.owed(DecisionKind.RELEASE) if d.step_id == step_id)
    return message_for(story.run, decision)


def test_each_item_is_a_step_and_the_outputs_come_in_the_order_of_the_list():
    story = Story("list", each(), "end<do")
    story.tell(ok("list", ["a", "b", "c"]))
    assert released(story) == ["do[0]", "do[1]", "do[2]"]
    assert story.phases()["do"] == "mapping"
    story.tell(ok("do[2]", "C", summary="c"), ok("do[0]", "A", summary="a"))
    assert story.phases()["end"] == "waiting"
    story.tell(ok("do[1]", "B", summary="b"))
    (result,) = work(story, "end").context
    assert (result.output, result.summary) == (["A", "B", "C"], "3 results: a; b; c")
    story.tell(ok("end", "end"))
    end = story.end
    assert [s.step_id for s in end.steps] == ["list", "do", "do[0]", "do[1]", "do[2]", "end"]
    assert (end.outcome, end.output, end.steps[2].output) == (RunOutcome.COMPLETED, "end", None)
    assert end.text.count("|") == 2


def test_an_item_gets_its_value_in_place_of_the_list():
    args = {"all": "{{item}}", "name": "{{item.name}}", "text": "{{ index }}: {{item['name']}}"}
    story = Story("list", "other", each(LIST, "list", "other", tool="t", args=args))
    story.tell(ok("other", 7), ok("list", [{"name": "x"}, {"name": "{{steps.other.output}}"}]))
    ready = work(story, "do[1]")
    assert [result.step_id for result in ready.context] == ["other"]
    assert (ready.item.index, ready.item.value) == (1, {"name": "{{steps.other.output}}"})
    resolved = resolve(ready)
    assert resolved.args == {
        "all": {"name": "{{steps.other.output}}"},  # data is not looked into for templates
        "name": "{{steps.other.output}}",
        "text": "1: {{steps.other.output}}",
    }
    assert resolved.task == 'do {"name": "{{steps.other.output}}"}'


def test_a_list_that_the_work_refers_to_is_handed_on_all_the_same():
    story = Story("list", each(input={"of": LIST, "this": "{{item}}"}))
    story.tell(ok("list", [1, 2]))
    assert resolve(work(story, "do[0]")).input == {"of": [1, 2], "this": 1}


def test_braces_of_a_step_that_is_done_once_are_its_authors_own():
    story = Story("list", step("a", "list", task=f"write {{{{item}}}}, {{{{items}}}} and {LIST}"))
    story.tell(ok("list", 7))
    ready = work(story, "a")
    assert resolve(ready).task == "write {{item}}, {{items}} and 7"
    assert b'"item"' not in ready.__pydantic_serializer__.to_json(ready)


def test_not_more_items_are_at_work_than_allowed():
    story = Story(each([1, 2, 3, 4], most=2))
    assert released(story) == ["do[0]", "do[1]"]
    story.tell(ok("do[1]"))
    assert released(story) == ["do[0]", "do[2]"]
    story.tell(failed("do[0]", retryable=True))  # it keeps its place until it has settled
    assert released(story) == ["do[2]"]


@pytest.mark.parametrize("items", [[], LIST])
def test_nothing_to_do_is_done_at_once(items):
    story = Story("list", each(items, "list"), "end<do")
    story.tell(ok("list", []))
    assert story.phases() == {"list": "done", "do": "done", "end": "released"}
    assert work(story, "end").context[0].output == []


@pytest.mark.parametrize(
    ("output", "code", "said"),
    [
        ("abc", "foreach_not_a_list", "{{steps.list.output}} in foreach is no list, but abc"),
        ({"a": 1}, "foreach_not_a_list", 'is no list, but {"a": 1}'),
        (None, "foreach_not_a_list", "is no list, but null"),
        (list(range(10_001)), "too_many_items", "10,001 items; the limit is 10,000 in a run"),
        (list(range(100_000)), "too_many_items", "100,000 items; the limit is 10,000 in a run"),
    ],
    ids=["text", "object", "null", "one too many", "far too many"],
)
def test_what_is_no_list_of_a_sane_length_fails_the_step(output, code, said):
    story = Story("list", each())
    story.tell(ok("list", output))
    assert story.phases() == {"list": "done", "do": "failed"}
    assert story.end.error.code == code
    assert said in story.end.error.message


def test_the_limit_of_items_is_that_of_all_lists_of_a_run():
    second = each([0] * 4_000).model_copy(update={"id": "do2"})
    story = Story(each([0] * 7_000), second, max_parallel=1)
    assert story.end.error.code == "too_many_items"
    assert "11,000 items; the limit is 10,000" in story.end.error.message


def test_a_path_that_is_not_there_fails_the_step():
    story = Story("list", each("{{steps.list.output.urls}}", "list"))
    story.tell(ok("list", {}))
    assert story.end.error.code == "template_unresolved"


@pytest.mark.parametrize(
    ("policy", "do", "end"),
    [
        (CONTINUE, "failed", "released"),
        (SKIP, "failed", "skipped"),
        (STOP, "cancelled", "cancelled"),
    ],
)
def test_an_item_that_fails_does_to_the_run_what_any_step_does(policy, do, end):
    story = Story(each(["a", "b"]), "end<do", on_failure=policy)
    story.tell(failed("do[0]"))
    story.tell(ok("do[1]", "B"))
    phases = story.phases()
    assert (phases["do"], phases["end"]) == (do, end)
    if policy is CONTINUE:
        (result,) = work(story, "end").context
        assert result.output == [None, "B"]
        assert result.error.code == "items_failed"
        assert result.error.message == "1 of 2 items: do[0]: do[0] broke"
        story.tell(ok("end"))
        assert story.end.outcome is RunOutcome.PARTIAL


def test_an_items_failure_is_tried_again_and_its_timeouts_are_its_own():
    story = Story(each(["a"]))
    story.tell(failed("do[0]", retryable=True))
    story.fire(next(iter(story.run.timers)).kind, "do[0]")
    assert story.owed(DecisionKind.RELEASE)[0].id == "r/do[0]/2/step_ready"


def test_items_are_undone_after_what_depends_on_them_and_before_what_they_depend_on():
    saga = Saga("list", each(), "end<do", "other")
    saga.tell(did("list", ["a", "b"]), did("do[0]"), did("do[1]"), did("end"), failed("other"))
    assert saga.undos() == ["end/1/1"]
    saga.tell(undone("end"))
    assert saga.undos() == ["do[1]/1/1", "do[0]/1/1"]
    saga.tell(undone("do[0]"))
    assert saga.undos() == ["do[1]/1/1"]
    saga.tell(undone("do[1]"))
    assert saga.undos() == ["list/1/1"]
    saga.tell(undone("list"))
    assert saga.end.outcome is RunOutcome.COMPENSATED
    assert {s.step_id: [u.state for u in s.undone] for s in saga.end.steps} == {
        "list": ["undone"],
        "do": [],
        "do[0]": ["undone"],
        "do[1]": ["undone"],
        "end": ["undone"],
        "other": [],
    }


def test_an_item_that_ends_after_the_run_turned_round_is_undone_as_well():
    saga = Saga("list", each(most=2), "end<do")
    saga.tell(did("list", ["a", "b", "c"]), failed("do[0]"))
    assert saga.phases()["do"] == saga.phases()["do[2]"] == "cancelled"
    assert saga.undos() == []
    saga.tell(did("do[1]"))
    assert saga.undos() == ["do[1]/1/1"]
    saga.tell(undone("do[1]"), undone("list"))
    assert saga.end.outcome is RunOutcome.COMPENSATED


def test_a_cancelled_run_stops_its_items():
    story = Story(each(["a", "b"], most=1))
    story.tell(CANCEL)
    assert story.phases() == {"do": "cancelled", "do[0]": "released", "do[1]": "cancelled"}


def test_a_reopened_run_does_only_the_items_that_are_not_done():
    story = Story("list", each(most=1), "end<do")
    story.tell(ok("list", ["a", "b", "c"]), ok("do[0]", "A"), failed("do[1]"))
    record_end(story.run)
    word = RetryRequested(
        run_id="r",
        generation=1,
        plan_offset=7,
        step_id="do[1]",
        input=5,
        state=json.loads(json.dumps(snapshot.save(story.run))),
    )
    story.run, _ = reopen(word, at_ms=BEGIN_MS)
    assert released(story) == ["do[1]"]
    assert work(story, "do[1]").input == 5
    again = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(story.run))))
    assert plain(again) == plain(story.run)
    story.tell(ok("do[1]", "B", attempt=2), ok("do[2]", "C"), ok("end"))
    assert story.run.steps["do"].output == ["A", "B", "C"]
    assert story.end.outcome is RunOutcome.COMPLETED


def word(story: Story, **more: object) -> RetryRequested:
    record_end(story.run)
    state = json.loads(json.dumps(snapshot.save(story.run)))
    return RetryRequested(run_id="r", generation=1, plan_offset=7, state=state, **more)


def test_a_step_that_is_done_again_with_another_input_gives_it_to_the_items_that_are_left():
    story = Story("list", each(input=[LIST, "{{item}}"]))
    story.tell(ok("list", ["a", "b"]), ok("do[0]", "A"), failed("do[1]"))
    story.run, _ = reopen(word(story, step_id="do", input="{{item}}"), at_ms=BEGIN_MS)
    assert (work(story, "do[1]").input, work(story, "do[1]").context) == ("{{item}}", [])
    again = snapshot.load("r", 7, json.loads(json.dumps(snapshot.save(story.run))))
    assert plain(again) == plain(story.run)


def partly_done() -> Story:
    """Make a run whose list is done since a step failed, and whose second item fails too."""
    failed_before = Condition(value="{{steps.s.state}}", equals="failed")
    more = Condition(value="{{steps.s.output}}", more_than=3)
    do = each(["a", "b"], "s", when=Condition(any=[failed_before, more]), on_failure=CONTINUE)
    story = Story(step("s", on_failure=CONTINUE), do)
    story.tell(failed("s"), ok("do[0]", "A"), failed("do[1]"))
    assert story.end.outcome is RunOutcome.PARTIAL
    return story


@pytest.mark.parametrize(("output", "state"), [(1, "skipped"), ("no number", "failed")])
def test_a_reopened_run_whose_list_is_not_to_be_done_any_more_comes_to_its_end(output, state):
    story = partly_done()
    story.run, _ = reopen(word(story), at_ms=BEGIN_MS)
    story.tell(ok("s", output, attempt=2))
    assert story.phases()["do"] == state
    assert (story.phases()["do[0]"], story.phases()["do[1]"]) == ("done", "cancelled")
    assert story.run.phase is RunPhase.ENDING


@pytest.mark.parametrize(
    "facts",
    [
        [ok("list", ["a", "b", "c"])],
        [ok("list", ["a", "b", "c"]), did("do[0]", 1)],
        [ok("list", ["a", "b", "c"]), did("do[0]", 1), did("do[1]"), did("do[2]")],
        [ok("list", [])],
        [ok("list", ["a", "b", "c"]), did("do[0]", 1), failed("do[1]")],
    ],
    ids=len,
)
def test_a_run_with_items_comes_back_from_its_snapshot_and_goes_on(facts):
    saga = Saga("list", each(most=2), each([1]).model_copy(update={"id": "o"}), "end<do,o")
    saga.tell(*facts)
    state = json.loads(json.dumps(snapshot.save(saga.run)))
    loaded = snapshot.load("r", 7, state)
    assert plain(loaded) == plain(saga.run)
    owed = [message_for(saga.run, d) for d in saga.run.owed.values()]
    assert [message_for(loaded, d) for d in loaded.owed.values()] == owed


def test_a_thousand_items_cost_about_a_thousand_times_one():
    story = Story("list", each(most=10), "end<do")
    began = time.process_time()
    story.tell(ok("list", [{"n": n} for n in range(1_000)]))
    for number in range(1_000):
        story.tell(ok(f"do[{number}]", number))
    assert time.process_time() - began < 2  # 0.1 s on a calm machine
    assert work(story, "end").context[0].output == list(range(1_000))
    assert len(json.dumps(snapshot.save(story.run))) < 500 * 1_000


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        (each([0] * 100_000), "too_many_items", "100,000 items; the limit is 10,000 in a run"),
        (each("some text"), "bad_foreach", "some text is neither a list nor a reference"),
        (each({"a": 1}), "bad_foreach", '{"a": 1} is neither a list nor a reference'),
        (each("{{steps.a.output}} {{steps.a.output}}"), "bad_foreach", "neither"),
        (each("x {{steps.a.output}}"), "bad_foreach", "neither a list nor a reference"),
        (each("{{steps.a.output}}"), "reference_without_dependency", "'a'"),
        (each("{{steps.a.output.[}}", "a"), "bad_reference", "cannot be read at '.['"),
        (asks("do", foreach=ForEach(items=[1])), "bad_foreach", "the step waits for a word"),
        (step("do[1]"), "bad_id", "ids with a number in brackets are those of items"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_with_the_plan(spec, code, said):
    (problem,) = check_plan(Plan(steps=[step("a"), spec]))
    assert (problem.code, problem.step) == (code, spec.id)
    assert said in problem.message


def test_a_list_or_a_reference_by_itself_is_short_for_items():
    plan = Plan.model_validate([{"agent": "m", "task": "x", "foreach": [1, 2]}])
    assert plan.steps[0].foreach == ForEach(items=[1, 2])
