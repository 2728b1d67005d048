"""Runs of one process that are planned anew, with real agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from starlings import Agent, LocalRun, Result, StepContext, StepFailed
from starlings.messages import (
    Amendment,
    AmendmentProposed,
    AmendmentRejected,
    FailurePolicy,
    PlanInvalid,
    Problem,
    ReplanReady,
    ReplanRequested,
    RunDone,
    RunOptions,
    RunOutcome,
    Step,
    StepDone,
)

REPLAN = RunOptions(on_failure=FailurePolicy.REPLAN)
UNKNOWN = Problem(code="cannot_replan", message="there is no other way", remedy="ask otherwise")


class Desk:
    """An agent that does as it is told, and keeps a book of what it did and undid."""

    def __init__(self) -> None:
        self.book: list[str] = []
        self.agent = Agent("desk", description="Does as it is told")
        self.agent.step(self.do)
        self.agent.compensate(self.undo)

    async def do(self, ctx: StepContext) -> Any:
        if ctx.task == "fail":
            raise StepFailed("no luck")
        self.book.append(f"did {ctx.step_id}/{ctx.attempt}")
        said = "it is dull" if ctx.task == "complain" and ctx.attempt == 1 else None
        return Result(ctx.step_id, replan=said)

    async def undo(self, output: str, _ctx: StepContext) -> None:
        self.book.append(f"undid {output}")


def step(name: str, *depends_on: str, task: str = "work") -> dict[str, Any]:
    return {"id": name, "agent": "desk", "task": task, "depends_on": list(depends_on)}


async def run(desk: Desk, *steps: dict[str, Any], **more: Any) -> tuple[RunDone, LocalRun]:
    local = LocalRun({"steps": list(steps)}, agents=[desk.agent], skip_waits=True, **more)
    return await local, local


async def test_a_step_that_fails_is_done_otherwise_and_the_rest_keeps_its_results():
    desk = Desk()

    async def otherwise(ready: ReplanReady) -> Amendment:
        assert (ready.step_id, ready.text) == ("b", "no luck")
        return Amendment(replace=[Step(id="b", agent="desk", task="work", depends_on=["a"])])

    done, _ = await run(
        desk,
        step("a"),
        step("b", "a", task="fail"),
        step("c", "b"),
        options=REPLAN,
        replanner=otherwise,
    )
    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "c")
    assert desk.book == ["did a/1", "did b/2", "did c/1"]


async def test_a_critics_word_has_the_draft_undone_and_done_again():
    desk = Desk()

    async def again(ready: ReplanReady) -> Amendment:
        assert ready.text == "it is dull"
        return Amendment(invalidate=["draft"])

    done, _ = await run(
        desk,
        step("x"),
        step("draft", "x"),
        step("critic", "draft", task="complain"),
        step("print", "critic"),
        replanner=again,
    )
    assert (done.outcome, done.output) == (RunOutcome.COMPLETED, "print")
    assert desk.book == [
        "did x/1",
        "did draft/1",
        "did critic/1",
        "undid critic",
        "undid draft",
        "did draft/2",
        "did critic/2",
        "did print/1",
    ]


@pytest.mark.parametrize("why", ["nobody", "no way", "unknown agent"])
async def test_without_another_plan_what_was_done_is_undone(why):
    desk = Desk()

    async def no_way(ready: ReplanReady) -> Amendment:
        if why == "no way":
            raise PlanInvalid([UNKNOWN])
        return Amendment(remove=["b"], add=[Step(id="d", agent="stranger", task="x")])

    done, local = await run(
        desk,
        step("a"),
        step("b", "a", task="fail"),
        options=REPLAN,
        replanner=None if why == "nobody" else no_way,
    )
    assert done.outcome is RunOutcome.COMPENSATED
    assert desk.book == ["did a/1", "undid a"]
    (rejected,) = [fact for fact in local.facts if isinstance(fact, AmendmentRejected)]
    codes = {"nobody": "no_planner", "no way": "cannot_replan", "unknown agent": "unknown_agent"}
    assert [problem.code for problem in rejected.problems] == [codes[why]]


async def test_what_is_at_work_on_invalid_results_is_stopped():
    desk = Desk()
    slow = Agent("slow", description="Takes its time")
    tried: list[int] = []

    @slow.step
    async def work(ctx: StepContext) -> str:
        tried.append(ctx.attempt)
        if ctx.attempt == 1:
            local.tell(ReplanRequested(run_id="local", text="do a again"))
            await asyncio.Event().wait()
        return "done"

    async def again(_ready: ReplanReady) -> Amendment:
        return Amendment(invalidate=["a"])

    plan = {"steps": [step("a"), {**step("b", "a"), "agent": "slow"}]}
    local = LocalRun(plan, agents=[desk.agent, slow], replanner=again)
    done = await local
    assert (done.outcome, tried) == (RunOutcome.COMPLETED, [1, 2])
    assert desk.book == ["did a/1", "undid a", "did a/2"]


def test_what_a_step_says_travels_with_its_result():
    done = StepDone(
        run_id="r", step_id="a", attempt=1, agent="desk", outcome="ok", replan="too dull"
    )
    assert StepDone.model_validate_json(done.as_json()).replan == "too dull"
    assert "replan" not in done.model_copy(update={"replan": None}).as_json().decode()
    none = AmendmentProposed(run_id="r", number=1, problems=[UNKNOWN])
    assert AmendmentProposed.model_validate_json(none.as_json()) == none
