"""What a fork and a comparison of runs are asked for, and how they are told."""

from __future__ import annotations

import io

import pytest
import typer
from rich.console import Console
from support.forks import forked
from support.runs import BEGIN_MS, failed, ok, step

from starlings.choreography.outputs import run_done
from starlings.cli.difference_page import difference_document, print_difference
from starlings.cli.forking import fork_document, print_fork
from starlings.cli.wishes import parse_settings, parse_variants
from starlings.client import RunView
from starlings.kafka.codec import Received
from starlings.messages import (
    Envelope,
    ForEach,
    Message,
    ModelOverride,
    Origin,
    Plan,
    PlanCreated,
    RunOptions,
    Usage,
)
from starlings.replay.difference import difference


def view_of(run_id: str, *facts: Message, end: bool = True) -> RunView:
    view = RunView(run_id)
    for number, fact in enumerate(facts):
        own = fact.model_copy(update={"run_id": run_id})
        envelope = Envelope(f"{run_id}/{number}", fact.CE_TYPE, "test", run_id, BEGIN_MS)
        view.add(Received(Origin("events", 0, number), BEGIN_MS, b"r", envelope, own))
    if end and view.run is not None and view.run.outcome is not None:
        done = run_done(view.run)
        envelope = Envelope("end", done.CE_TYPE, "test", run_id, BEGIN_MS)
        view.add(Received(Origin("events", 0, 99), BEGIN_MS, b"r", envelope, done))
    return view


def planned(*steps, **options) -> PlanCreated:
    return PlanCreated(run_id="r", plan=Plan(steps=list(steps)), options=RunOptions(**options))


def page(width: int, show, *args) -> str:
    out = io.StringIO()
    show(Console(width=width, file=out, highlight=False), *args)
    return out.getvalue()


def test_settings_are_of_the_run_or_of_single_steps():
    of_run, of_steps = parse_settings(
        ["model=a=b", "temperature=0.5", 's.input={"n": 1}', "s.task=do it", "t.input=words"]
    )
    assert of_run == {"model": "a=b", "temperature": 0.5}
    assert of_steps == {"s": {"input": {"n": 1}, "task": "do it"}, "t": {"input": "words"}}


@pytest.mark.parametrize(
    "wrong",
    [
        "model",
        "base_url=http://x",
        "s.api_key=x",
        "task=x",
        "temperature=hot",
        "temperature=7",
        "temperature=true",
        "s.args=[1]",
        "s.args=x",
        "prompt= ",
    ],
)
def test_what_cannot_be_set_is_refused(wrong):
    with pytest.raises(typer.BadParameter):
        parse_settings([wrong])


def test_variants_are_named_once_for_each_agent():
    assert parse_variants(["a=v2", "b = default"]) == {"a": "v2", "b": "default"}
    for wrong in (["a"], ["a="], ["=v"], ["a=v", "a=w"]):
        with pytest.raises(typer.BadParameter):
            parse_variants(wrong)


FORK = forked(
    "a",
    step("do", "a", foreach=ForEach(items="{{steps.a.output}}")),
    step("b", "do", model=ModelOverride(prompt="Be brief.")),
    inherited={"a": [1, 2], "do[0]": 1},
    routing={"math": {"v2": 1.0}},
    model=ModelOverride(model="large"),
)


@pytest.mark.parametrize("width", [80, 160])
def test_a_fork_is_told_by_what_is_kept_and_what_runs(width):
    told = page(width, print_fork, FORK)
    assert all(len(line) <= width for line in told.splitlines())
    words = " ".join(told.split())
    assert "Fork of o, as of offset 41" in words
    assert "kept a math [1, 2]" in words
    assert "runs do math.v2 1 of its items are kept; model=large; do do" in words
    assert "runs b math.v2 model=large; prompt=Be brief.; do b" in words
    document = fork_document(FORK)
    assert document["kept"] == ["a", "do[0]"]
    assert [each["id"] for each in document["runs"]] == ["do", "b"]


def two() -> tuple[RunView, RunView]:
    cheap, dear = (
        Usage(model="m", calls=1, input_tokens=n, output_tokens=5, cost_usd=n / 1e4)
        for n in (10, 900)
    )
    left = view_of(
        "left",
        planned(step("a"), step("b", "a"), step("old", "a"), on_failure="continue"),
        ok("a", 1, usage=cheap, duration_s=1.0),
        ok("b", "one\ntwo\nthree", usage=cheap, duration_s=2.0),
        failed("old"),
    )
    right = view_of(
        "right",
        forked("a", step("b", "a", task="otherwise"), "new<a", inherited={"a": 1}),
        ok("b", "one\nTWO\nthree", usage=dear, duration_s=4.0),
        ok("new", {"x": 1}),
    )
    return left, right


def test_two_runs_are_compared_by_steps():
    found = difference(*two())
    assert [(s.step_id, s.is_same, s.is_same_result) for s in found.steps] == [
        ("a", True, True),
        ("b", False, False),
        ("old", False, False),
        ("new", False, False),
    ]
    assert found.steps[1].changed == ("task",)
    assert found.options == ("on_failure",)
    assert (found.left.status, found.right.forked_from) == ("partial", "o")
    document = difference_document(found)
    assert document["steps"][1]["right"]["usage"]["cost_usd"] == 0.09
    assert (document["steps"][2]["right"], document["right"]["forked_from"]) == (None, "o")


def test_a_run_that_is_not_planned_has_no_steps_to_compare():
    left, _ = two()
    found = difference(left, RunView("none"))
    assert (found.right.status, found.right.steps, found.options) == ("unplanned", 0, ())
    assert "only left" in page(80, print_difference, found)


@pytest.mark.parametrize("width", [80, 160])
def test_a_comparison_is_readable_in_a_terminal(width):
    told = page(width, print_difference, difference(*two()))
    assert all(len(line) <= width for line in told.splitlines()), told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "status partial completed" in lines
    assert "≠ b math" in lines
    assert "plan: task" in lines
    assert "took 2.0 s → 4.0 s, tokens 15 → 905, $0.001 → $0.09" in lines
    assert lines[lines.index("- two") : lines.index("- two") + 2] == ["- two", "+ TWO"]
    assert "- old math, only left" in lines
    assert "- old broke" in lines
    assert "+ new math, only right" in lines
    assert lines[-1] == "3 of 4 steps differ, 1 do not (1 inherited)"


def test_a_result_that_both_runs_were_given_counts_once():
    _, right = two()
    told = page(80, print_difference, difference(right, right))
    assert told.splitlines()[-1].endswith("(1 inherited)")


def test_a_name_for_a_fork_that_is_none_is_refused_at_once(starlings):
    assert starlings("replay", "fork", "r", "--run-id", "bad id!") == 2
    assert "--run-id 'bad id!' does not match" in starlings.stderr


def test_a_long_result_is_cut_and_says_so():
    rows = "\n".join(str(number) for number in range(500))
    left = view_of("left", planned(step("a")), ok("a", rows))
    right = view_of("right", planned(step("a")), ok("a", "none"))
    told = page(80, print_difference, difference(left, right))
    assert "cut; `starlings output RUN --step STEP`" in told
    assert len(told.splitlines()) < 70


def test_equal_runs_are_told_as_such():
    same = [view_of(name, planned(step("a")), ok("a", 1)) for name in ("left", "right")]
    assert "0 of 1 steps differ, 1 do not" in page(80, print_difference, difference(*same))
