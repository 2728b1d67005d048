"""Plans are checked for everything at once; each problem says where, what and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from starlings.choreography import Limits, check_plan, parse_plan
from starlings.choreography.validation import DEFAULT_LIMITS
from starlings.messages import (
    AgentDefined,
    Plan,
    PlanInvalid,
    Problem,
    RunOptions,
    Step,
    ToolDefinition,
)

ADD = ToolDefinition(
    name="add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
)
ANY = ToolDefinition(name="any", parameters={"type": "object", "additionalProperties": True})
BARE = ToolDefinition(name="bare", parameters={"properties": None, "required": None})
AGENTS = {
    "math": AgentDefined(agent="math", tools=[ADD, ANY, BARE]),
    "rare": AgentDefined(agent="rare", scales_from_zero=True),
    "asleep": AgentDefined(agent="asleep"),
}


def problems_of(data: Any, **given: Any) -> list[Problem]:
    with pytest.raises(PlanInvalid) as caught:
        parse_plan(data, **given)
    return caught.value.problems


def found(data: Any, **given: Any) -> list[tuple[str, str | None, str | None]]:
    return [(p.code, p.step, p.field) for p in problems_of(data, **given)]


def a_step(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "agent": "math", "task": "t"} | fields


def test_a_good_plan_is_read_in_its_long_form_and_in_its_short_one():
    long = parse_plan({"steps": [a_step(), a_step(id="b", depends_on=["a"])]})
    short = parse_plan(
        [{"agent": "math", "task": "t"}, {"agent": "math", "task": "t", "dependencies": [0]}]
    )
    assert [(s.id, s.depends_on) for s in long.steps] == [("a", []), ("b", ["a"])]
    assert [(s.id, s.depends_on) for s in short.steps] == [("s1", []), ("s2", ["s1"])]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (a_step(task="  "), ("empty_task", "a", "task")),
        (a_step(args={"a": 1}), ("args_without_tool", "a", "args")),
        (a_step(depends_on=["a"]), ("self_dependency", "a", "depends_on")),
        (a_step(depends_on=["x", "x"]), ("unknown_dependency", "a", "depends_on")),
        (a_step(dependencies=[7]), ("unknown_dependency", "a", "depends_on")),
        (a_step(task="{{steps.b.output}}"), ("reference_without_dependency", "a", "task")),
        (a_step(input=["{{ steps.b.summary }}"]), ("reference_without_dependency", "a", "input")),
        (
            a_step(tool="any", args={"x": {"y": "{{steps.b.output}}"}}),
            ("reference_without_dependency", "a", "args"),
        ),
        (a_step(agent="nobody"), ("unknown_agent", "a", "agent")),
        (a_step(agent="asleep"), ("agent_not_alive", "a", "agent")),
        (a_step(agent="asleep", tool="add"), ("agent_not_alive", "a", "agent")),
        (a_step(tool="divide"), ("unknown_tool", "a", "tool")),
        (a_step(tool="add", args={"a": 1, "b": 2, "c": 3}), ("unknown_argument", "a", "args.c")),
        (a_step(tool="add", args={"a": 1}), ("missing_argument", "a", "args.b")),
        (a_step(agent=None), ("bad_field", "a", "agent")),
        (a_step(id="no dots."), ("bad_field", "no dots.", "id")),
        (a_step(input=float("nan")), ("bad_field", "a", "input.float")),
        ({"id": "a", "task": "t"}, ("missing_field", "a", "agent")),
        ("do it", ("bad_field", "#0", None)),
    ],
)
def test_each_problem_of_a_step_names_step_and_field(step, problem):
    assert problem in found([step], agents=AGENTS, alive={"math"})


@pytest.mark.parametrize(
    "step",
    [
        a_step(task="", input={"x": 1}),
        a_step(task="", tool="add", args={"a": 1, "b": 2}),
        a_step(tool="any", args={"whatever": 1}),
        a_step(tool="bare"),
        a_step(agent="rare"),
    ],
)
def test_what_makes_sense_without_words_or_instances_is_accepted(step):
    assert parse_plan([step], agents=AGENTS, alive={"math"}).steps[0].id == "a"


def test_a_template_that_refers_to_a_dependency_is_accepted():
    data = [a_step(), a_step(id="b", depends_on=["a"], task="use {{steps.a.output.x}}")]
    assert len(parse_plan(data).steps) == 2


def test_without_a_registry_agents_are_not_checked():
    assert parse_plan([a_step(agent="nobody", tool="nothing")]).steps[0].agent == "nobody"


def test_with_agents_only_nobody_asks_who_is_alive():
    assert parse_plan([a_step(agent="asleep")], agents=AGENTS).steps[0].agent == "asleep"


def test_all_problems_of_shape_and_sense_come_at_once():
    data = [
        {"id": "a", "task": "no agent"},
        a_step(id="b", agent="nobody", depends_on=["a", "zz", "b"]),
        a_step(id="c", task="", depends_on=["d"]),
        a_step(id="d", depends_on=["c"]),
        a_step(id="d"),
        17,
    ]
    codes = [p[:2] for p in found(data, agents=AGENTS, options=RunOptions(max_parallel=0))]
    assert sorted(codes, key=str) == [
        ("bad_field", "#5"),
        ("bad_parallelism", None),
        ("duplicate_id", "d"),
        ("empty_task", "c"),
        ("missing_field", "a"),
        ("self_dependency", "b"),
        ("unknown_agent", "b"),
        ("unknown_dependency", "b"),
    ]


def test_a_step_that_is_only_misshapen_still_exists_for_those_that_depend_on_it():
    assert found([{"id": "a"}, a_step(id="b", depends_on=["a"])]) == [
        ("missing_field", "a", "agent")
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"steps": []}, ("no_steps", None, None)),
        ([], ("no_steps", None, None)),
        (None, ("bad_field", None, None)),
        ("a plan in words", ("bad_field", None, None)),
        ({"steps": None}, ("bad_field", None, "steps")),
        ({"steps": "one"}, ("bad_field", None, "steps")),
        ({}, ("missing_field", None, "steps")),
        ({"steps": [{"id": {"x": 1}, "agent": "math", "task": "t"}]}, None),
        ({"steps": [a_step(depends_on=[["b"]])]}, ("bad_field", "a", "depends_on.0")),
        ({"steps": [a_step(depends_on=None, agent="BAD")]}, ("bad_field", "a", "agent")),
    ],
)
def test_whatever_is_no_plan_is_refused_with_one_problem(data, problem):
    (only,) = found(data)
    assert only == problem or problem is None


def test_the_cycle_is_named_in_the_order_of_work():
    data = [
        a_step(id="a", depends_on=["c"]),
        a_step(id="b", depends_on=["a"]),
        a_step(id="c", depends_on=["b"]),
        a_step(id="behind", depends_on=["c"]),
        a_step(id="free"),
        a_step(id="after", depends_on=["free"]),
    ]
    (problem,) = problems_of(data)
    assert problem.message == "steps wait for each other: b → c → a → b"
    assert problem.remedy == "remove one of these dependencies"


def test_several_cycles_are_named_but_not_hundreds():
    pairs = [
        a_step(id=f"{name}{i}", depends_on=[f"{other}{i}"])
        for i in range(50)
        for name, other in (("x", "y"), ("y", "x"))
    ]
    assert [p.code for p in problems_of(pairs)] == ["cycle"] * 5


def test_a_very_long_cycle_is_shown_by_its_ends():
    data = [a_step(id=f"s{i}", depends_on=[f"s{(i + 1) % 9_000}"]) for i in range(9_000)]
    (problem,) = problems_of(data)
    assert "(8,981 more)" in problem.message
    assert len(problem.message) < 300


def test_twenty_thousand_steps_are_refused_with_one_problem():
    (problem,) = problems_of([a_step(id=f"s{i}") for i in range(20_000)])
    assert str(problem) == (
        "steps: the plan has 20,000 steps; the limit is 10,000 "
        "(split the work over several runs, or let one step do more)"
    )


def test_a_ready_made_plan_of_too_many_steps_is_refused_as_well():
    plan = Plan(steps=[Step(id=f"s{i}", agent="math", task="t") for i in range(4)])
    assert [p.code for p in check_plan(plan, limits=Limits(steps=3))] == ["too_many_steps"]


def test_the_limit_itself_is_allowed():
    plan = Plan(steps=[Step(id=f"s{i}", agent="math", task="t") for i in range(10_000)])
    assert check_plan(plan) == []


def test_a_plan_larger_than_the_limit_in_bytes_is_refused():
    (problem,) = problems_of([a_step(task="é" * 4_000)], limits=Limits(size_bytes=8_000))
    assert problem.code == "too_large"
    assert problem.message.endswith("the limit is 8,000")
    assert parse_plan([a_step(task="e" * 4_000)], limits=Limits(size_bytes=8_000))


@pytest.mark.parametrize("parallel", [0, -1, 10_001])
def test_parallelism_must_be_a_number_of_steps(parallel):
    options = RunOptions(max_parallel=parallel)
    (problem,) = problems_of([a_step()], options=options)
    assert (problem.code, problem.message) == ("bad_parallelism", f"max_parallel is {parallel}")


@pytest.mark.parametrize("parallel", [None, 1, 10_000])
def test_sensible_parallelism_is_accepted(parallel):
    assert parse_plan([a_step()], options=RunOptions(max_parallel=parallel))


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [deep(), circular(), {(1, 2): 3}, "\ud800"])
def test_what_cannot_be_written_as_json_is_a_problem_not_a_crash(value):
    (problem,) = problems_of([a_step(input=value)])
    assert problem.code == "not_json"
    assert problem.remedy.startswith("use texts, numbers")


def test_remedies_suggest_names_that_exist():
    remedies = [
        problems_of([a_step(id="a", depends_on=["zz"])])[0].remedy,
        problems_of([a_step(id="a", depends_on=["zz"]), a_step(id="b")])[0].remedy,
        problems_of([a_step(agent="x")], agents=AGENTS)[0].remedy,
        problems_of([a_step(agent="x")], agents={})[0].remedy,
        problems_of([a_step(agent="rare", tool="x")], agents=AGENTS)[0].remedy,
        problems_of([a_step(depends_on=["x"]), *(a_step(id=f"b{i}") for i in range(10))])[0].remedy,
    ]
    assert remedies == [
        "leave it out: there is none to choose from",
        "use one of b",
        "use one of asleep, math, rare",
        "start an agent first",
        "leave it out: there is none to choose from",
        "use one of b0, b1, b2, b3, b4, b5, b6, b7 and 2 more",
    ]


def test_of_millions_of_problems_a_thousand_are_listed():
    data = [a_step(id=f"s{i}", depends_on=[f"x{n}" for n in range(50)]) for i in range(2_000)]
    problems = problems_of(data)
    assert len(problems) == 1_001
    assert (problems[-1].code, problems[-1].remedy) == ("more_problems", "mend these first")


def test_exactly_a_thousand_problems_are_all_there_are():
    data = [a_step(depends_on=[f"x{n}" for n in range(1_000)])]
    assert {p.code for p in problems_of(data)} == {"unknown_dependency"}


def test_the_error_reads_as_a_list():
    with pytest.raises(
        PlanInvalid, match=r"(?s)the plan has 2 problems:\n  - step 'a': task: .*\n"
    ):
        parse_plan([a_step(task="", depends_on=["zz"])])


def waiting(**more: Any) -> dict[str, Any]:
    return {"steps": [{"id": "w", "approval": {"question": "Well?"}, **more}]}


def test_a_step_that_waits_needs_no_task_and_no_agent_that_is_alive():
    plan = parse_plan(waiting(), agents=AGENTS, alive=[])
    assert plan.steps[0].agent == "human"
    plan = parse_plan([{"id": "w", "signal": {"name": "paid"}}], agents=AGENTS, alive=[])
    assert plan.steps[0].agent == "signal"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"signal": {"name": "paid"}}, "waits_for_two"),
        ({"agent": "math"}, "waits_and_works"),
    ],
)
def test_a_step_waits_for_one_thing_and_does_nothing_else(more, code):
    assert [p.code for p in problems_of(waiting(**more), agents=AGENTS)] == [code]


@pytest.mark.parametrize(
    ("compensate", "code", "remedy"),
    [
        ({"agent": "nobody"}, "unknown_agent", "use one of"),
        ({"agent": "math"}, "no_compensation", "name a tool of it"),
        ({"agent": "math", "tool": "sub"}, "unknown_tool", "use one of"),
        ({"agent": "math", "tool": "add", "args": {"a": 1}}, "missing_argument", "give compensate"),
    ],
)
def test_what_would_undo_a_step_must_exist(compensate, code, remedy):
    step = {"agent": "math", "task": "x", "compensate": compensate}
    (problem,) = problems_of([step], agents=AGENTS)
    assert (problem.code, problem.step) == (code, "s1")
    assert problem.remedy.startswith(remedy)


def test_an_agent_that_only_reacts_takes_no_steps():
    agents = AGENTS | {"listener": AgentDefined(agent="listener", takes_steps=False)}
    (problem,) = problems_of([{"agent": "listener", "task": "x"}], agents=agents)
    assert problem.code == "takes_no_steps"
    assert "listener" not in problem.remedy


def test_undoing_needs_an_agent_to_start_with():
    step = {"agent": "math", "task": "x", "compensate": {"agent": "math"}}
    remedies = {p.remedy for p in problems_of([step], agents={})}
    assert remedies == {"start an agent first"}


def test_what_undoes_a_step_is_a_tool_or_the_agents_own_compensation():
    agents = AGENTS | {"bank": AgentDefined(agent="bank", compensates=True)}
    add = {"agent": "math", "tool": "add", "args": {"a": 1, "b": 2}}
    for compensate in ({"agent": "bank"}, add):
        step = {"agent": "math", "task": "x", "compensate": compensate}
        assert parse_plan([step], agents=agents).steps[0].compensate is not None


def test_the_limits_are_those_of_the_documentation():
    assert (DEFAULT_LIMITS.steps, DEFAULT_LIMITS.size_bytes) == (10_000, 8 * 1024 * 1024)
