"""A candidate's result beside the recorded one: which verdict, and what is said of it."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from starlings import Agent
from starlings.messages import ErrorInfo, StepDone, StepOutcome, StepReady, Usage
from starlings.replay.shadow import refused_tool
from starlings.replay.shadow_comparing import (
    Comparison,
    Judgement,
    Verdict,
    compare,
    differences_of,
    same_json,
)
from starlings.replay.shadow_judge import problems_of
from starlings.replay.shadow_report import Report, Row, quantile


def done(output: JsonValue = None, *, code: str | None = None, **more) -> StepDone:
    error = ErrorInfo(code=code, message=f"{code} it is") if code else None
    outcome = StepOutcome.ERROR if code else StepOutcome.OK
    given = {"run_id": "r", "step_id": "s", "attempt": 1, "agent": "a", "outcome": outcome}
    return StepDone(**{**given, "output": output, "error": error, **more})


@pytest.mark.parametrize(
    ("was", "now", "verdict"),
    [
        (done(5), done(5.0), Verdict.SAME),
        (done(1), done(True), Verdict.DIFFERENT),
        (done({"a": 1, "b": 2}), done({"b": 2, "a": 1}), Verdict.SAME),
        (done(5), done(code="boom"), Verdict.FAILED),
        (done(5), done(code="timeout"), Verdict.FAILED),
        (done(code="boom"), done(code="boom"), Verdict.SAME),
        (done(code="boom"), done(code="other"), Verdict.FAILED),
        (done(code="boom"), done(5), Verdict.DIFFERENT),
        (done(5), done(code="effect_refused"), Verdict.NOT_COMPARABLE),
        (done(5), done(code="not_recorded"), Verdict.NOT_COMPARABLE),
        (done(outcome=StepOutcome.CANCELLED), done(5), Verdict.NOT_COMPARABLE),
        (None, done(5), Verdict.NOT_COMPARABLE),
    ],
)
def test_verdicts(was, now, verdict):
    found = compare(was, now, session=1)
    assert found.verdict is verdict
    assert found.why or found.verdict in (Verdict.SAME, Verdict.DIFFERENT)
    shows = found.verdict is Verdict.DIFFERENT and not found.why
    assert bool(found.differences) == shows or was.error is not None


def test_differences_name_the_places():
    was: JsonValue = {"a": [1, {"b": "x"}], "gone": 1, "same": None}
    now: JsonValue = {"a": [1, {"b": "y"}], "new": 2, "same": None}
    found = [(d.path, d.was, d.now) for d in differences_of(was, now)]
    assert found == [("a[1].b", '"x"', '"y"'), ("gone", "1", ""), ("new", "", "2")]
    assert [d.path for d in differences_of([1, 2], [1])] == [""]
    assert same_json([], [])
    (long,) = differences_of("x" * 5_000, "y")
    assert len(long.was) == 200


def test_a_comparison_survives_its_travel_also_without_a_usable_judge():
    said = compare(done(1), done(2), session=3).model_copy(
        update={"judgement": Judgement(same=None, reason="nonsense")}
    )
    assert Comparison.model_validate_json(said.model_dump_json(exclude_none=True)) == said


def test_a_report_sums_up_what_could_be_compared():
    rows = [
        Row(
            f"r/s{n}/1",
            compare(
                done(n, duration_s=n, usage=Usage(calls=1, cost_usd=0.5)),
                done(n, duration_s=2 * n, usage=Usage(calls=2, cost_usd=0.25)),
                session=1,
            ),
        )
        for n in range(1, 21)
    ]
    refused = Row("r/x/1", compare(done(1, duration_s=99), done(code="not_recorded"), session=1))
    report = Report((*rows, refused))
    assert report.good
    assert (report.was.p50_s, report.was.p95_s) == (10, 19)
    assert (report.now.p50_s, report.now.p95_s) == (20, 38)
    assert report.was.usage.cost_usd == 10
    assert report.now.usage.calls == 40
    assert not Report((refused,)).good
    assert quantile([], 0.5) is None
    assert refused.document()["attempt"] == 1


@pytest.mark.parametrize(
    "answer", [None, [], {}, {"same": "yes", "reason": "x"}, {"same": True, "reason": " "}]
)
def test_a_judge_has_to_say_yes_or_no_and_why(answer):
    assert problems_of(answer)
    assert not problems_of({"same": False, "reason": "another number"})


def test_a_tool_that_the_plan_names_is_called_only_where_repeating_it_does_no_harm():
    agent = Agent("a", description="Has tools")
    agent.tool(name="buy", description="Buys.")(lambda: None)
    agent.tool(name="look", description="Looks.", idempotent=True)(lambda: None)

    def refusal(tool: str | None) -> ErrorInfo | None:
        ready = StepReady(run_id="r", step_id="s", attempt=1, agent="a", tool=tool)
        return refused_tool(agent, ready)

    assert refusal("buy").code == "effect_refused"
    assert [refusal(tool) for tool in ("look", "unknown", None)] == [None] * 3
