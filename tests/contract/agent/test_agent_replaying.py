"""Work that a replay publishes: its agents know, and what they answer says so as well."""

from __future__ import annotations

import pytest

from starlings import Agent, StepContext
from starlings.agents import JobAgent, JobStatus, Phase
from starlings.messages import CompensationReady, StepReady, step_key

pytestmark = pytest.mark.kafka

REPLAY = "step r1/s1/1"


def replayed(stage, ready, ident: str):
    return stage.publisher.publish(
        stage.site.topics.steps(stage.agent.name),
        step_key(ready.run_id, ready.step_id),
        ready,
        id=ident,
        subject=ready.run_id,
        replay=REPLAY,
    )


def mark_of(stage, ident: str) -> str | None:
    return next(fact.envelope.replay for fact in stage.facts if fact.envelope.id == ident)


async def test_an_agent_knows_that_a_step_is_replayed_and_its_answer_says_so(open_stage):
    agent = Agent("painter", description="Paints")

    @agent.step
    async def paint(ctx: StepContext) -> bool:
        return await ctx.once("brush", lambda: ctx.replaying)

    @agent.compensate
    def undo(ctx: StepContext) -> bool:
        return ctx.replaying

    stage = await open_stage(agent)
    await stage.start()
    ready = StepReady(run_id="r1", step_id="s1", attempt=1, agent="painter", task="paint")
    await replayed(stage, ready, "r1/s1/1/step_ready")
    undoing = CompensationReady(run_id="r1", step_id="s2", attempt=1, number=1, agent="painter")
    await replayed(stage, undoing, "r1/s2/1/compensation_ready/1")
    await stage.step(run_id="r2")

    done = await stage.said("r1/s1/1/step_done")
    assert (done.output, done.kept.answers) == (True, {"brush": True})
    assert (await stage.said("r1/s2/1/compensation_done/1")).output is True
    assert (await stage.said("r2/s1/1/step_done")).output is False
    assert mark_of(stage, "r1/s1/1/step_done") == REPLAY
    assert mark_of(stage, "r1/s2/1/compensation_done/1") == REPLAY
    assert mark_of(stage, "r2/s1/1/step_done") is None


async def test_a_replayed_job_knows_it_in_each_look(open_stage):
    agent = JobAgent("render", description="Renders", first_poll_s=0.05)

    @agent.create
    def create(ctx: StepContext) -> dict:
        return {"create": ctx.replaying}

    @agent.get
    def get(handle: dict, ctx: StepContext) -> JobStatus:
        return JobStatus(Phase.SUCCEEDED, output=handle | {"get": ctx.replaying})

    @agent.delete
    def delete(handle: dict) -> None:
        """There is nothing to end."""

    stage = await open_stage(agent)
    await stage.start()
    ready = StepReady(run_id="r1", step_id="s1", attempt=1, agent="render", task="render")
    await replayed(stage, ready, "r1/s1/1/step_ready")
    assert (await stage.said("r1/s1/1/step_done")).output == {"create": True, "get": True}
    assert mark_of(stage, "r1/s1/1/step_done") == REPLAY
