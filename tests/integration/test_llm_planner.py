"""The planner with models that plan well, badly, or not at all, over real HTTP."""

from __future__ import annotations

import json

import jsonschema
import pytest
from support.model_server import Reply, model_server, refusal

from starlings import Agent, LocalRun, StepContext
from starlings.llm import LlmSettings, ModelClient
from starlings.llm.question import is_strict
from starlings.messages import (
    AgentDefined,
    Plan,
    PlanCreated,
    PlanRejected,
    RunOutcome,
    RunRequested,
    ToolDefinition,
    TransientError,
)
from starlings.planning import Planner
from starlings.planning.prompt import plan_schema

NUMBER = {"type": "number"}
ADD = ToolDefinition(
    name="add",
    parameters={
        "type": "object",
        "properties": {"a": NUMBER, "b": NUMBER},
        "required": ["a", "b"],
    },
)
AGENTS = {
    agent.agent: agent
    for agent in (
        AgentDefined(agent="string", description="Works on texts"),
        AgentDefined(agent="math", description="Calculates", tools=[ADD]),
        AgentDefined(agent="asleep", description="Sleeps"),
        AgentDefined(agent="lazy", description="Wakes up when needed", scales_from_zero=True),
    )
}
ALIVE = {"math", "string"}


def step(number, agent="math", *, after=(), task="Do it", **more):
    waits_for = [f"s{n}" for n in after]
    return {"id": f"s{number}", "agent": agent, "task": task, "depends_on": waits_for, **more}


def proposal(*steps, cannot=None):
    return json.dumps({"steps": steps, "cannot": cannot})


GOOD = proposal(step(1), step(2, "string"), step(3, after=(1, 2)))


@pytest.fixture
def server():
    with model_server() as running:
        yield running


async def plan(server, request="Do this, then that", *, agents=AGENTS, alive=ALIVE, **settings):
    given = {"openai_base_url": server.base_url, "model": "m", "backoff_s": 0.001, **settings}
    request = RunRequested(request=request) if isinstance(request, str) else request
    async with ModelClient(LlmSettings(_env_file=None, **given)) as client:
        return await Planner(client).plan(request, run_id="r1", agents=agents, alive=alive)


def codes(rejected):
    assert isinstance(rejected, PlanRejected)
    return [problem.code for problem in rejected.problems]


async def test_a_plan_carries_the_requests_choices_and_what_it_cost(server):
    server.replies(GOOD)
    request = RunRequested(request="Do it", tags={"a": "b"}, max_parallel=2, timeout_s=60)
    created = await plan(server, request)
    assert isinstance(created, PlanCreated)
    assert [(s.id, s.agent, s.depends_on) for s in created.plan.steps] == [
        ("s1", "math", []),
        ("s2", "string", []),
        ("s3", "math", ["s1", "s2"]),
    ]
    assert (created.run_id, created.request, created.tags) == ("r1", "Do it", {"a": "b"})
    assert (created.options.max_parallel, created.options.timeout_s) == (2, 60)
    assert (created.model, created.usage.calls, created.usage.input_tokens) == ("scripted-1", 1, 10)


async def test_the_model_sees_the_agents_that_can_work_now_and_no_others(server):
    server.replies(GOOD)
    await plan(server)
    asked = server.requests[0]
    [system, user] = [message["content"] for message in asked["messages"]]
    assert "- math: Calculates\n  - add(a: number, b: number)" in system
    assert "asleep" not in system
    assert user == "Request: Do this, then that"
    schema = asked["response_format"]["json_schema"]
    items = schema["schema"]["properties"]["steps"]["items"]
    assert items["properties"]["agent"]["enum"] == ["lazy", "math", "string"]
    assert schema["strict"] is True
    assert items["required"] == ["id", "agent", "task", "depends_on", "when", "foreach"]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        pytest.param("First I would add, then count.", "no JSON", id="prose"),
        pytest.param(GOOD[:60], "cut off", id="half a JSON"),
        pytest.param("", "empty", id="nothing"),
        pytest.param(proposal(step(1, after=(1,))), "depends on itself", id="self-dependency"),
        pytest.param(proposal(step(1, after=(2,)), step(2, after=(1,))), "→", id="cycle"),
        pytest.param(proposal(step(1, "cook")), "no agent 'cook'", id="unknown agent"),
        pytest.param(proposal(step(1, "asleep")), "is alive", id="agent not alive"),
        pytest.param(proposal(step(1), step(1)), "have the id", id="duplicate id"),
        pytest.param(proposal(step(1, after=(7,))), "no step 's7'", id="unknown dependency"),
        pytest.param(proposal(step(1, task=" ")), "task is empty", id="empty task"),
        pytest.param(proposal(), "no steps", id="no steps, no reason"),
        pytest.param(proposal(step(1), cannot="Too hard."), "reason why", id="both"),
        pytest.param('{"steps": "all", "cannot": null}', "steps", id="steps are a text"),
        pytest.param(
            proposal(step(1), step(2, when={"value": "{{steps.s1.output}}", "equals": 1})),
            "which is no dependency",
            id="condition on no dependency",
        ),
        pytest.param(
            proposal(step(1), step(2, after=(1,), when={"value": "s1 > 3", "equals": True})),
            "has to be one reference",
            id="condition in words",
        ),
        pytest.param(
            proposal(step(1), step(2, after=(1,), foreach="the parts")),
            "neither a list nor a reference",
            id="list in words",
        ),
        pytest.param(proposal(step(1, task="Add {{item}}")), "no list", id="item of no list"),
    ],
)
async def test_a_bad_plan_is_mended_by_showing_the_model_its_problems(server, bad, problem):
    server.replies(bad, GOOD)
    created = await plan(server)
    assert isinstance(created, PlanCreated)
    assert problem in server.requests[1]["messages"][-1]["content"]
    assert created.usage.calls == 2


async def test_all_problems_of_a_plan_are_shown_at_once(server):
    server.replies(proposal(step(1, "cook", after=(1,)), step(2, task="")), GOOD)
    await plan(server)
    shown = server.requests[1]["messages"][-1]["content"]
    for part in ("'cook'", "depends on itself", "task is empty"):
        assert part in shown


async def test_a_plan_that_stays_bad_is_rejected_with_its_problems(server):
    server.replies(*[proposal(step(1, after=(1,)))] * 3)
    rejected = await plan(server)
    assert codes(rejected) == ["model_output_invalid", "self_dependency"]
    assert rejected.problems[1].step == "s1"
    assert rejected.usage.calls == 3


async def test_a_model_that_cannot_is_taken_at_its_word(server):
    server.replies(proposal(cannot="None of the agents can paint."))
    rejected = await plan(server)
    assert codes(rejected) == ["cannot_plan"]
    assert rejected.problems[0].message == "None of the agents can paint."
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "written",
    [
        '[{"agent": "math", "task": "a"}, {"agent": "string", "task": "b", "dependencies": [0]}]',
        (
            '{"plan": [{"agent": "math", "task": "a"}, '
            '{"agent": "string", "task": "b", "dependencies": [0]}]}'
        ),
        (
            '{"plan": {"steps": [{"id": 1, "agent": "math", "task": "a"}, '
            '{"id": "s2", "agent": "string", "task": "b", "depends_on": [0]}]}}'
        ),
        (
            '{"steps": [{"agent": "math", "task": "a"}, {"agent": "string", "task": "b", '
            '"depends_on": [0]}], "cannot": "none"}'
        ),
    ],
)
async def test_a_plan_in_another_common_shape_is_understood(server, written):
    server.replies(written)
    created = await plan(server)
    [first, second] = created.plan.steps
    assert second.depends_on == [first.id]


@pytest.mark.parametrize("blank", [None, "", "null", "None", False, {}, []])
async def test_models_say_in_many_ways_that_there_is_no_condition_and_no_list(server, blank):
    server.replies(proposal(step(1, when=blank, foreach=blank)))
    created = await plan(server)
    assert [(s.when, s.foreach) for s in created.plan.steps] == [(None, None)]


def strict_answers():
    """Every condition and list that the schema offers, as strict mode would write it."""
    first = {"value": "{{steps.s1.output}}"}
    conditions = [
        *({**first, name: 3} for name in ("less_than", "at_most", "more_than", "at_least")),
        *({**first, name: None} for name in ("equals", "not_equals")),
        *({**first, name: ["a", 1, None]} for name in ("one_of", "none_of")),
        {**first, "contains": "a"},
        {**first, "exists": True},
    ]
    lists = ["{{steps.s1.output}}", ["a", 2, None], None]
    return [(when, None) for when in [*conditions, None]] + [(None, foreach) for foreach in lists]


@pytest.mark.parametrize(("when", "foreach"), strict_answers(), ids=str)
async def test_what_the_strict_schema_offers_is_a_plan(server, when, foreach):
    answer = proposal(
        step(1, when=None, foreach=None), step(2, after=(1,), when=when, foreach=foreach)
    )
    jsonschema.validate(json.loads(answer), plan_schema(["math"]))
    assert is_strict(plan_schema(["math"]))
    server.replies(answer)
    created = await plan(server)
    second = created.plan.steps[1].model_dump(mode="json")
    assert second.get("when") == when
    assert (second.get("foreach") or {}).get("items") == foreach


async def test_a_models_plan_with_a_condition_and_a_list_runs(server):
    words = Agent("words", description="Works on words")

    @words.step
    async def work(ctx: StepContext) -> object:
        return ctx.task.split(",") if "," in ctx.task else ctx.task.upper()

    parts = "{{steps.s1.output}}"
    third = {"value": "{{steps.s1.output[2]}}", "equals": "c"}
    server.replies(
        proposal(
            step(1, "words", task="a,b,c", when=None, foreach=None),
            step(2, "words", after=(1,), task="<{{item}}>", foreach=parts),
            step(3, "words", after=(1,), task="three", when=third),
            step(4, "words", after=(1,), task="no", when={"value": parts, "contains": "z"}),
            step(5, "words", task="<{{item}}>", foreach=["x", "y"]),
        )
    )
    created = await plan(server, agents={"words": words.definition()}, alive={"words"})
    assert isinstance(created, PlanCreated)
    done = await LocalRun(created.plan, agents=[words])
    assert done.outcome is RunOutcome.COMPLETED
    told = {s.step_id: (s.state, s.output) for s in done.steps if "[" not in s.step_id}
    assert told == {
        "s1": ("done", ["a", "b", "c"]),
        "s2": ("done", ["<A>", "<B>", "<C>"]),
        "s3": ("done", "THREE"),
        "s4": ("skipped", None),
        "s5": ("done", ["<X>", "<Y>"]),
    }


async def test_a_request_with_a_plan_costs_no_model_call(server):
    given = Plan.model_validate({"steps": [{"agent": "math", "task": "a"}]})
    created = await plan(server, RunRequested(plan=given))
    assert isinstance(created, PlanCreated)
    assert (created.plan, created.usage) == (given, None)
    assert server.requests == []


async def test_a_plan_that_came_along_is_validated_all_the_same(server):
    steps = [
        {"id": "a", "agent": "math", "depends_on": ["a"], "tool": "add", "args": {"a": 1, "c": 2}},
        {"id": "b", "agent": "cook", "task": ""},
    ]
    request = RunRequested(plan=Plan.model_validate({"steps": steps}), max_parallel=0)
    rejected = await plan(server, request)
    assert set(codes(rejected)) == {
        "bad_parallelism",
        "self_dependency",
        "unknown_argument",
        "missing_argument",
        "empty_task",
        "unknown_agent",
    }
    assert server.requests == []


async def test_20000_steps_are_refused_at_once(server):
    given = Plan.model_validate({"steps": [{"agent": "math", "task": "a"}] * 20_000})
    assert codes(await plan(server, RunRequested(plan=given))) == ["too_many_steps"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (RunRequested(request=" \n"), "empty_request"),
        (RunRequested(request="Add", max_parallel=0), "bad_parallelism"),
        (RunRequested(request="x" * 2_000_000), "request_too_large"),
    ],
)
async def test_what_no_model_could_mend_is_refused_before_asking_one(server, request_, code):
    assert codes(await plan(server, request_)) == [code]
    assert server.requests == []


@pytest.mark.parametrize("agents", [{}, {"asleep": AGENTS["asleep"]}])
async def test_without_a_running_agent_no_model_is_asked(server, agents):
    rejected = await plan(server, agents=agents)
    assert codes(rejected) == ["no_agents"]
    assert server.requests == []


async def test_a_refused_key_becomes_a_rejection_that_names_the_setting(server):
    server.replies(refusal(401))
    rejected = await plan(server, openai_api_key="sk-wrong")
    assert codes(rejected) == ["model_unauthorized"]
    assert "OPENAI_API_KEY" in str(rejected.problems[0])


async def test_a_cut_off_answer_becomes_a_rejection_that_names_the_setting(server):
    server.replies(Reply(GOOD, finish_reason="length"))
    rejected = await plan(server)
    assert codes(rejected) == ["model_output_truncated"]
    assert "STARLINGS_MAX_TOKENS" in rejected.problems[0].remedy


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refusal(429, retry_after="99"), "model_rate_limited"),
        (refusal(503), "model_unavailable"),
        (Reply(hangs=True), "model_timeout"),
    ],
)
async def test_what_passes_after_a_while_is_left_to_the_caller(server, reply, code):
    server.replies(reply)
    with pytest.raises(TransientError) as caught:
        await plan(server, retries=0, timeout_s=0.3)
    assert caught.value.code == code
