"""Conditions: what compares how, what is refused with a plan, and what cannot be judged."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from support.runs import step

from starlings.choreography import check_plan, parse_plan
from starlings.choreography.conditions import holds
from starlings.messages import Condition, DependencyResult, ErrorInfo, Plan, PlanInvalid, StepFailed

RESULTS = {
    "a": DependencyResult(
        step_id="a",
        agent="math",
        summary="a summary",
        output={"n": 3, "ok": True, "tags": ["x", 1], "none": None, "text": "hello"},
    ),
    "bad": DependencyResult(
        step_id="bad", agent="math", summary="", error=ErrorInfo(code="x", message="no")
    ),
    "gone": DependencyResult(step_id="gone", agent="math", summary="", skipped=True),
}


def on(path: str, **comparison: object) -> Condition:
    return Condition(value=f"{{{{steps.{path}}}}}", **comparison)


N = on("a.output.n", more_than=2)
NOT_N = on("a.output.n", more_than=3)
NOWHERE = on("a.output.nowhere", equals=1)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (on("a.output.n", equals=3.0), True),
        (on("a.output.n", equals="3"), False),
        (on("a.output.n", equals=True), False),
        (on("a.output.ok", equals=True), True),
        (on("a.output.ok", equals=1), False),
        (on("a.output.none", equals=None), True),
        (on("a.output.none", not_equals=None), False),
        (on("a.output.tags", equals=["x", 1]), True),
        (on("a.output.tags", equals=["x", True]), False),
        (on("a.output.tags", equals=["x"]), False),
        (on("a.output", not_equals={"n": 3}), True),
        (on("a.output['n']", at_most=3), True),
        (on("a.output.n", less_than=3), False),
        (on("a.output.n", at_least=3.5), False),
        (N, True),
        (on("a.output.text", one_of=["hello", 1]), True),
        (on("a.output.text", none_of=["hello", 1]), False),
        (on("a.output.text", contains="ell"), True),
        (on("a.output.tags", contains=1), True),
        (on("a.output.tags", contains=True), False),
        (on("a.output", contains="tags"), True),
        (on("a.output.tags[1]", exists=True), True),
        (on("a.output.tags[2]", exists=True), False),
        (on("a.output.none", exists=False), True),
        (on("a.summary", contains="summary"), True),
        (on("a.state", equals="done"), True),
        (on("bad.state", equals="failed"), True),
        (on("gone.state", equals="skipped"), True),
        (on("gone.output", equals=None), True),
        (Condition(all=[N, N]), True),
        (Condition(all=[NOT_N, NOWHERE]), False),
        (Condition(any=[N, NOWHERE]), True),
        (Condition(none=[NOT_N, NOT_N]), True),
        (Condition(none=[NOT_N, N]), False),
    ],
    ids=str,
)
def test_values_are_compared_as_json(condition, expected):
    assert holds(condition, RESULTS) is expected


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        (NOWHERE, "template_unresolved", "there is no 'nowhere' in it"),
        (on("z.output", equals=1), "template_unresolved", "step 'z' is not among"),
        (
            on("a.output.text", more_than=1),
            "condition_type",
            "text more than 1 cannot be judged: the value is hello, not a number",
        ),
        (on("a.output.ok", at_most=1), "condition_type", "true, not a number"),
        (on("a.output.n", contains="3"), "condition_type", "3, not a text, a list or an object"),
        (on("a.output.text", contains=1), "condition_type", "not a list, for that is all"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_an_error_and_never_just_false(condition, code, said):
    with pytest.raises(StepFailed) as caught:
        holds(condition, RESULTS)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_a_condition_is_written_as_it_was_given_even_with_null():
    condition = Condition(all=[on("a.output", equals=None), Condition(none=[N])])
    assert Condition.model_validate_json(condition.model_dump_json()) == condition
    assert str(condition) == (
        "all of (steps.a.output equals None; none of (steps.a.output.n more than 2))"
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "this one has 0"),
        ({"value": "{{steps.a.output}}"}, "exactly one of equals, not_equals"),
        ({"value": "{{steps.a.output}}", "equals": 1, "at_most": 2}, "this one has 2"),
        ({"value": "{{steps.a.output}}", "equal": 1}, "this one has 0"),
        ({"value": "a.output", "equals": 1}, "value has to be one reference"),
        ({"value": "{{steps.a.output}} x", "equals": 1}, "value has to be one reference"),
        ({"equals": 1}, "value has to be one reference"),
        ({"value": "{{steps.a.output}}", "all": [{}]}, "this one has 0"),
        ({"value": "{{steps.a.output}}", "any": [N]}, "takes no value"),
        ({"all": []}, "'all' has no conditions"),
        ({"value": "{{steps.a.output}}", "at_most": None}, "'at_most' cannot be null"),
        ({"value": "{{steps.a.output}}", "at_most": "3"}, "valid integer"),
        ({"value": "{{steps.a.output}}", "exists": 1}, "valid boolean"),
    ],
)
def test_a_malformed_condition_is_refused(data, said):
    with pytest.raises(ValidationError, match=said):
        Condition.model_validate(data)


def nested(levels: int) -> Condition:
    return N if levels == 1 else Condition(all=[nested(levels - 1)])


@pytest.mark.parametrize(
    ("when", "code", "said"),
    [
        (nested(11), "condition_too_deep", "more than 10"),
        (Condition(any=[on("z.output", equals=1)]), "reference_without_dependency", "'z'"),
        (on("a.output[x]", equals=1), "bad_reference", "cannot be read at '[x]'"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused_with_the_plan(when, code, said):
    plan = Plan(steps=[step("a"), step("b", "a", when=when)])
    (problem,) = check_plan(plan)
    assert (problem.step, problem.field, problem.code) == ("b", "when", code)
    assert said in problem.message


def test_the_deepest_allowed_condition_is_taken_and_a_bottomless_one_is_refused():
    assert check_plan(Plan(steps=[step("a"), step("b", "a", when=nested(10))])) == []
    bottomless: dict[str, object] = {"value": "{{steps.a.output}}", "equals": 1}
    for _ in range(400):
        bottomless = {"all": [bottomless]}
    steps = [
        {"id": "a", "agent": "m", "task": "x"},
        {"agent": "m", "task": "y", "when": bottomless},
    ]
    with pytest.raises(PlanInvalid):
        parse_plan({"steps": steps})
