"""A manager hands work out to other agents: the model's plan becomes steps of the very run."""

from __future__ import annotations

import json

import pytest
from support.model_server import model_server

from starlings import Agent, LocalRun, Manager, StepContext, StepFailed
from starlings.agents.execute import execute
from starlings.agents.models import AgentModels
from starlings.agents.once import CallsInMemory, remembering
from starlings.llm import LlmSettings, ModelClient
from starlings.messages import (
    AgentDefined,
    ConfigError,
    DependencyResult,
    RunOptions,
    StepReady,
)

ELSEWHERE = AgentDefined(agent="hotels", description="Books rooms")


def worker(name):
    agent = Agent(name, description=f"Knows {name}")

    @agent.step
    async def work(task: str, ctx: StepContext) -> str:
        if "fail" in ctx.task:
            raise StepFailed("no", code="no")
        got = ",".join(f"{step}={ctx.results[step]}" for step in sorted(ctx.results))
        return f"{name}({ctx.task}|{got})"

    return agent


FLIGHTS, ROOMS, DESK = worker("flights"), worker("rooms"), worker("desk")


def manager(**more):
    given = {"workers": [FLIGHTS, ROOMS], **more}
    return Agent(
        "boss", description="Plans trips", instructions="By rail.", strategy=Manager(**given)
    )


def plan(*steps, cannot=None):
    listed = [{"id": i, "agent": a, "task": t, "depends_on": list(d)} for i, a, t, *d in steps]
    return json.dumps({"steps": listed, "cannot": cannot})


TWO = plan(("s1", "flights", "Find a flight"), ("s2", "rooms", "A room, by s1, not s10", "s1"))


@pytest.fixture
def server():
    with model_server() as running:
        yield running


def client(server):
    given = {"openai_api_key": "sk-x", "openai_base_url": server.base_url, "retries": 0}
    return ModelClient(LlmSettings(_env_file=None, **given))


def ready(**more):
    given = {"attempt": 1, "task": "A trip to Paris", **more}
    return StepReady(run_id="r", step_id="trip", agent="boss", **given)


async def ask(server, agent, *script, step=None):
    server.replies(*script)
    async with client(server) as model:
        return await execute(agent, step or ready(), model=model)


async def run(server, agent, *script, on_failure="stop", **of_manager):
    """A manager between two steps, with a result before it and one who waits for the end."""
    server.replies(*script)
    steps = [
        {"id": "who", "agent": "desk", "task": "who"},
        {"id": "trip", "agent": "boss", "task": "A trip", "depends_on": ["who"], **of_manager},
        {"id": "end", "agent": "desk", "task": "end", "depends_on": ["trip"]},
    ]
    async with client(server) as model:
        return await LocalRun(
            {"steps": steps},
            agents=[agent, FLIGHTS, ROOMS, DESK],
            model=model,
            options=RunOptions(on_failure=on_failure),
            skip_waits=True,
        )


async def test_the_models_plan_becomes_steps_of_the_run_and_what_waits_for_it_joins_them(server):
    done = await run(server, manager(), TWO)
    outputs = {step.step_id: step.output for step in done.steps}
    assert list(outputs) == ["who", "trip", "trip:s1", "trip:s2", "end"]
    assert outputs["trip"] == {
        "steps": [
            {"id": "trip:s1", "agent": "flights", "task": "Find a flight"},
            {"id": "trip:s2", "agent": "rooms", "task": "A room, by trip:s1, not s10"},
        ]
    }
    assert outputs["trip:s1"] == "flights(Find a flight|who=desk(who|))"
    assert "trip:s1=flights(" in outputs["trip:s2"]
    assert "trip:s2=rooms(" in outputs["end"]
    assert "trip:s1=flights(" not in outputs["end"].split("trip:s2=rooms(")[0]
    assert done.steps[1].summary == "2 steps for flights, rooms"
    asked = server.requests[0]["messages"]
    assert "- flights: Knows flights" in asked[0]["content"]
    assert asked[0]["content"].endswith("By rail.")
    assert '"desk(who|)"' in asked[1]["content"]  # the result, as data


async def test_conditions_and_lists_of_the_models_plan_speak_of_the_steps_that_are_added(server):
    steps = json.loads(
        plan(
            ("s1", "flights", "Find a flight"),
            ("s2", "rooms", "Room {{item}}", "s1"),
            ("s3", "rooms", "Another room", "s1"),
        )
    )
    steps["steps"][1] |= {"when": None, "foreach": ["a", "b"]}
    steps["steps"][2] |= {
        "when": {"value": "{{steps.s1.output}}", "contains": "no flight"},
        "foreach": None,
    }
    done = await run(server, manager(), json.dumps(steps))
    told = {step.step_id: (step.state, step.output) for step in done.steps}
    assert told["trip:s3"] == ("skipped", None)
    rooms = [room.partition("|")[0] for room in told["trip:s2"][1]]
    assert rooms == ["rooms(Room a", "rooms(Room b"]
    assert told["end"][0] == "done"


async def test_a_list_that_one_added_step_returns_is_gone_through_by_another(server):
    steps = json.loads(plan(("s1", "flights", "Find"), ("s2", "rooms", "{{item}}", "s1")))
    steps["steps"][1]["foreach"] = "{{steps.s1.output}}"
    done = await run(server, manager(), json.dumps(steps))
    told = {step.step_id: step for step in done.steps}
    assert told["trip:s2"].error.code == "foreach_not_a_list"  # it is found, and is a text


async def test_one_step_behind_all_others_can_put_them_together(server):
    agent = manager(combine=DESK, combine_task="Sum up: {task}")
    done = await run(server, agent, plan(("s1", "flights", "a"), ("s2", "rooms", "b")))
    outputs = {step.step_id: step.output for step in done.steps}
    assert outputs["trip:join"].startswith("desk(Sum up: A trip|trip:s1=flights(")
    assert "trip:join=desk(" in done.output


async def test_a_plan_that_does_not_hold_is_mended_before_anything_is_added(server):
    bad = plan(("s1", "trains", "x"), ("s2", "rooms", "y", "s3"))
    circle = plan(("s1", "rooms", "x", "s2"), ("s2", "rooms", "y", "s1"))
    done = await ask(server, manager(), bad, circle, TWO)
    assert [step.id for step in done.amendment.add] == ["trip:s1", "trip:s2"]
    assert "trains" in server.requests[1]["messages"][-1]["content"]
    assert "steps wait for each other" in server.requests[2]["messages"][-1]["content"]
    assert done.usage.calls == 3


async def test_more_steps_than_allowed_are_refused(server):
    many = plan(*[(f"s{n}", "rooms", "x") for n in range(1_000)])
    done = await ask(server, manager(most=3), many, many, many)
    assert (done.error.code, done.amendment) == ("model_output_invalid", None)
    assert "there are 1000 steps, and the limit is 3" in done.error.message


async def test_the_model_can_say_that_the_workers_cannot(server):
    done = await ask(server, manager(), plan(cannot="Nobody sails."))
    assert (done.error.code, done.error.retryable) == ("cannot", False)
    assert "Nobody sails." in done.error.message


async def test_a_later_attempt_hands_out_under_ids_of_its_own(server):
    done = await ask(server, manager(), TWO, step=ready(attempt=2))
    assert [step.id for step in done.amendment.add] == ["trip:2:s1", "trip:2:s2"]


async def test_an_attempt_that_is_started_again_hands_out_the_same_and_asks_nobody(server):
    memory = CallsInMemory()
    with remembering(lambda: memory):
        first = await ask(server, manager(), TWO)
        again = await ask(server, manager())
    assert first.amendment == again.amendment
    assert (len(server.requests), again.usage.calls) == (1, 1)


async def test_a_worker_that_fails_fails_the_run_as_its_policy_says(server):
    failing = plan(("s1", "flights", "fail"), ("s2", "rooms", "b"))
    done = await run(server, manager(), failing, on_failure="continue")
    states = {step.step_id: step.state for step in done.steps}
    assert (states["trip:s1"], states["trip:s2"], states["end"]) == ("failed", "done", "done")


async def test_results_that_failed_are_not_waited_for_by_workers(server):
    error = {"code": "no", "message": "away"}
    context = [
        DependencyResult(step_id="a", agent="desk", summary="", error=error),
        DependencyResult(step_id="b", agent="desk", summary="", skipped=True),
        DependencyResult(step_id="c", agent="desk", summary="yes", output="yes"),
    ]
    done = await ask(server, manager(), TWO, step=ready(context=context, input={"days": 3}))
    assert [step.depends_on for step in done.amendment.add] == [["c"], ["trip:s1", "c"]]
    assert '{"days": 3}' in server.requests[0]["messages"][1]["content"]


async def test_managers_of_managers_end(server):
    step = ready().model_copy(update={"step_id": "t" * 126})
    done = await ask(server, manager(), TWO, step=step)
    assert done.error.code == "too_deep"
    own = Agent("boss", description="B", strategy=Manager(workers=[AgentDefined(agent="boss")]))
    done = await ask(server, own)
    assert "agent 'boss' is its own worker" in done.error.message


async def test_a_task_that_says_nothing_is_refused(server):
    done = await ask(server, manager(), step=ready(task=" ", input={"a": 1}))
    assert (done.error.code, server.requests) == ("input_invalid", [])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (Manager, r"Manager\(workers=…\) needs an agent"),
        (lambda: Manager(workers=["flights"]), r"takes agents, not 'flights'"),
        (lambda: Manager(workers=[ELSEWHERE], combine="desk"), r"takes agents, not 'desk'"),
        (lambda: Manager(workers=[ELSEWHERE], most=0), r"Manager\(most=…\)"),
    ],
)
def test_a_manager_without_workers_is_refused(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


async def test_offline_a_manager_splits_what_the_rules_understand(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    from starlings_agents.math import agent as math  # noqa: PLC0415
    from starlings_agents.string import agent as string  # noqa: PLC0415

    boss = Agent("boss", description="Has it done", strategy=Manager(workers=[math, string]))
    steps = [
        {"id": "a", "agent": "math", "task": "Add 1 and 1"},
        {
            "id": "b",
            "agent": "boss",
            "task": "Count the letters in 'starling' and square that number",
            "depends_on": ["a"],
        },
    ]
    async with AgentModels(LlmSettings(_env_file=None)) as models:
        done = await LocalRun({"steps": steps}, agents=[boss, math, string], model=models)
    assert done.output == 64
