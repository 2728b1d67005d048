"""Runs in this process: the core and the agents as on Kafka, without Kafka and without a model."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.waiting import wait_until

from starlings import Agent, Result, StepContext, StepFailed, TransientError
from starlings.messages import (
    Amendment,
    AmendmentRejected,
    CancelRequested,
    FailurePolicy,
    PlanInvalid,
    RetryPolicy,
    RunDone,
    RunOptions,
    RunOutcome,
    Step,
    StepDone,
    StepStarted,
    Timeouts,
)
from starlings.testing import LocalRun

HOURS = RetryPolicy(attempts=3, initial_s=3600, max_s=7200)


class Flock:
    """An agent of the test's own, and what it has seen."""

    def __init__(self) -> None:
        self.agent = Agent("flock", description="Does as the task says")
        self.seen: list[tuple[str, int]] = []
        self.at_once = self.most_at_once = 0
        self.release = asyncio.Event()
        self.agent.step(self.work)

    async def work(self, ctx: StepContext) -> object:
        self.seen.append((ctx.step_id, ctx.attempt))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.do(ctx)
        finally:
            self.at_once -= 1

    async def do(self, ctx: StepContext) -> object:
        word, _, rest = ctx.task.partition(" ")
        if word == "fail":
            raise StepFailed("no wind", code="calm")
        if word == "try" and ctx.attempt < int(rest):
            raise TransientError("not yet")
        if word == "wait":
            await self.release.wait()
        if word == "yield":
            await asyncio.sleep(0)
        return {"said": ctx.task, "heard": dict(ctx.results), "missed": sorted(ctx.errors)}


@pytest.fixture
def flock():
    return Flock()


def step(name: str, task: str = "fly", *depends_on: str, **more: object) -> dict[str, object]:
    return {"id": name, "agent": "flock", "task": task, "depends_on": list(depends_on), **more}


async def test_a_plan_is_run_in_order_and_results_reach_dependents(flock):
    done = await LocalRun([step("a"), step("b"), step("c", "join", "a", "b")], [flock.agent])

    assert done.outcome is RunOutcome.COMPLETED
    assert [name for name, _ in flock.seen] == ["a", "b", "c"]
    assert done.output["heard"]["a"]["said"] == "fly"
    assert [s.step_id for s in done.steps] == ["a", "b", "c"]


async def test_agents_with_tools_need_no_model_where_the_plan_names_tool_and_arguments():
    sums = Agent("sums", description="Adds")

    @sums.tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    first = {"id": "a", "agent": "sums", "tool": "add", "args": {"a": 2, "b": 3}}
    args = {"a": "{{steps.a.output}}", "b": 10}
    second = {"id": "b", "agent": "sums", "tool": "add", "args": args, "depends_on": ["a"]}

    done = await LocalRun([first, second], [sums])

    assert (done.output, done.text) == (15, "sums: 5 | sums: 15")


async def test_without_a_model_a_step_in_words_fails_and_says_what_to_set():
    sums = Agent("sums", description="Adds")

    @sums.tool
    def one() -> int:
        """Is one."""
        return 1

    done = await LocalRun([{"agent": "sums", "task": "Add 1 and 1"}], [sums])

    assert done.outcome is RunOutcome.FAILED
    assert done.steps[0].error.code == "no_model"
    assert "OPENAI_API_KEY" in done.steps[0].error.message


async def test_skip_waits_makes_hours_of_back_off_take_no_time(flock):
    began = time.monotonic()

    plan = [step("a", "try 3", retry=HOURS.model_dump())]
    done = await LocalRun(plan, [flock.agent], skip_waits=True)

    assert done.outcome is RunOutcome.COMPLETED
    assert flock.seen == [("a", 1), ("a", 2), ("a", 3)]
    assert done.duration_s >= 3600 + 7200
    assert time.monotonic() - began < 10


async def test_without_skip_waits_back_offs_are_waited_for(flock):
    options = RunOptions(retry=RetryPolicy(attempts=2, initial_s=0.2))
    began = time.monotonic()

    done = await LocalRun([step("a", "try 2")], [flock.agent], options=options)

    assert done.outcome is RunOutcome.COMPLETED
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("policy", "outcome", "states"),
    [
        (FailurePolicy.STOP, RunOutcome.FAILED, ["failed", "cancelled", "cancelled"]),
        (FailurePolicy.CONTINUE, RunOutcome.PARTIAL, ["failed", "done", "done"]),
        (FailurePolicy.SKIP_DEPENDENTS, RunOutcome.PARTIAL, ["failed", "skipped", "done"]),
    ],
)
async def test_failure_policies(flock, policy, outcome, states):
    plan = [step("a", "fail"), step("b", "fly", "a"), step("c", "yield")]
    options = RunOptions(on_failure=policy, max_parallel=1)

    done = await LocalRun(plan, [flock.agent], options=options)

    assert done.outcome is outcome
    assert [s.state for s in done.steps] == states
    assert done.steps[0].error.code == "calm"
    if policy is FailurePolicy.CONTINUE:
        assert done.steps[1].output["missed"] == ["a"]


async def test_no_more_steps_run_at_once_than_the_run_allows(flock):
    plan = [step(f"s{n}", "yield") for n in range(20)]

    await LocalRun(plan, [flock.agent], options=RunOptions(max_parallel=3))

    assert len(flock.seen) == 20
    assert flock.most_at_once == 3


async def test_cancel_stops_what_runs_and_what_waits(flock):
    facts: list[object] = []
    run = LocalRun([step("a", "wait"), step("b", "fly", "a")], [flock.agent], on_fact=facts.append)
    running = asyncio.create_task(run.run())
    await wait_until(
        lambda: any(isinstance(fact, StepStarted) for fact in facts), message="the step runs"
    )

    run.tell(CancelRequested(run_id="local", reason="rain"))
    done = await running

    assert done.outcome is RunOutcome.CANCELLED
    assert "rain" in done.error.message
    assert [s.state for s in done.steps] == ["cancelled", "cancelled"]
    assert flock.at_once == 0


async def test_a_step_that_takes_too_long_fails_with_the_limits_name(flock):
    plan = [step("a", "wait", timeouts=Timeouts(run_s=0.05).model_dump())]

    done = await LocalRun(plan, [flock.agent], options=RunOptions(retry=RetryPolicy(attempts=1)))

    assert done.outcome is RunOutcome.FAILED
    assert "0.05 s (timeouts.run_s)" in done.steps[0].error.message


async def test_a_run_that_takes_too_long_ends(flock):
    done = await LocalRun(
        [step("a", "wait")], [flock.agent], options=RunOptions(timeout_s=0.1), request="fly"
    )

    assert done.outcome is RunOutcome.FAILED
    assert done.error.code == "deadline_exceeded"
    assert flock.at_once == 0


async def test_a_bad_plan_is_refused_with_every_problem_before_anything_runs(flock):
    with pytest.raises(PlanInvalid) as caught:
        LocalRun([step("a", "", "b"), step("b", "fly", "a"), {"agent": "x"}], [flock.agent])

    codes = {problem.code for problem in caught.value.problems}
    assert {"cycle", "empty_task", "unknown_agent"} <= codes
    assert flock.seen == []


async def test_its_facts_are_those_of_the_log_in_order(flock):
    run = LocalRun([step("a"), step("b", "try 2", "a")], [flock.agent], skip_waits=True)

    done = await run

    kinds = [fact.NAME for fact in run.facts if not isinstance(fact, StepStarted)]
    assert (kinds[0], kinds[-1]) == ("plan_created", "run_done")
    assert kinds.count("step_done") == 3
    assert "timer_fired" in kinds
    assert run.facts[-1] is done
    attempts = [(f.step_id, f.attempt) for f in run.facts if isinstance(f, StepDone)]
    assert attempts == [("a", 1), ("b", 1), ("b", 2)]
    assert sum(isinstance(fact, RunDone) for fact in run.facts) == 1


async def test_an_amendment_that_names_an_unknown_tool_is_rejected_and_the_run_goes_on():
    boss, hands = Agent("boss", description="Manages"), Agent("hands", description="Work")

    @hands.tool
    def lift() -> str:
        """Lifts."""
        return "lifted"

    @boss.step
    async def manage(ctx: StepContext) -> Result:
        tool = ctx.task
        step = Step(id="w", agent="hands", tool=tool, args={})
        return Result("managed", amend=Amendment(add=[step]))

    for tool, steps in (("lift", ["boss", "w"]), ("push", ["boss"])):
        facts: list[object] = []
        plan = [{"id": "boss", "agent": "boss", "task": tool}]
        end = await LocalRun(plan, agents=[boss, hands], on_fact=facts.append)
        assert (end.outcome, [s.step_id for s in end.steps]) == (RunOutcome.COMPLETED, steps)
        rejected = [fact for fact in facts if isinstance(fact, AmendmentRejected)]
        assert [p.code for r in rejected for p in r.problems] == ["unknown_tool"] * (tool == "push")
