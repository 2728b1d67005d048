"""Results that Kafka does not take: kept and published later, never worked out a second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.waiting import wait_until

from starlings import Agent, JobAgent, JobStatus, StepContext
from starlings.messages import (
    CompensationDone,
    ConfigError,
    Message,
    StarlingsError,
    StepDone,
    StepOutcome,
    StepProgress,
    StepStarted,
    TransientError,
)

pytestmark = pytest.mark.kafka

DONE, UNDONE = "r1/s1/1/step_done", "r1/s1/1/compensation_done/1"
AWAY = TransientError("away", code="kafka_unavailable")
FORBIDDEN = ConfigError("this Kafka user may not write to events")


@dataclass
class Refusal:
    """Has the publisher refuse messages of a kind, so often."""

    publish: Any
    kind: type[Message]
    error: StarlingsError
    times: float
    refused: list[Message] = field(default_factory=list)

    async def __call__(self, topic: str, key: bytes, message: Message, **more: Any) -> Any:
        if isinstance(message, self.kind) and len(self.refused) < self.times:
            self.refused.append(message)
            raise self.error
        return await self.publish(topic, key, message, **more)


@pytest.fixture
def refuse(monkeypatch):
    """Have a stage's publisher refuse messages."""

    def begin(stage, kind: type[Message], error: StarlingsError, times: float = 3) -> Refusal:
        refusal = Refusal(stage.publisher.publish, kind, error, times)
        monkeypatch.setattr(stage.publisher, "publish", refusal)
        return refusal

    return begin


class Shop:
    """An agent that counts what it does."""

    def __init__(self) -> None:
        self.agent = Agent("shop", description="Sells")
        self.agent.step(self.sell)
        self.agent.compensate(self.take_back)
        self.sold = self.taken_back = 0
        self.heartbeats = 0

    async def sell(self, ctx: StepContext) -> str:
        self.sold += 1
        for _ in range(self.heartbeats):
            await ctx.heartbeat("sign of life")
        return f"sold {self.sold}"

    async def take_back(self) -> None:
        self.taken_back += 1


@pytest.mark.parametrize("error", [AWAY, FORBIDDEN], ids=["away", "forbidden"])
async def test_a_result_that_kafka_does_not_take_is_kept_and_its_step_not_done_again(
    open_stage, refuse, error
):
    shop = Shop()
    stage = await open_stage(shop.agent)
    refusal = refuse(stage, StepDone, error)
    instance = await stage.start()
    await stage.step()

    done = await stage.said(DONE)

    assert (done.outcome, done.output, len(refusal.refused)) == (StepOutcome.OK, "sold 1", 3)
    assert shop.sold == 1
    assert instance.runtime.consumer.counters.retried == 0


async def test_what_has_been_undone_is_not_undone_again_because_kafka_did_not_hear_of_it(
    open_stage, refuse
):
    shop = Shop()
    stage = await open_stage(shop.agent)
    refuse(stage, CompensationDone, AWAY)
    await stage.start()
    await stage.undo()

    assert (await stage.said(UNDONE)).outcome is StepOutcome.OK
    assert shop.taken_back == 1


async def test_a_result_that_cannot_be_sent_is_an_error_and_its_step_not_done_again(
    open_stage, refuse
):
    shop = Shop()
    stage = await open_stage(shop.agent)
    refuse(stage, StepDone, StarlingsError("too large", code="message_too_large"), times=2)
    await stage.start()
    await stage.step()

    done = await stage.said(DONE)

    assert (done.outcome, done.output) == (StepOutcome.ERROR, None)
    assert (done.error.code, done.error.retryable) == ("message_too_large", False)
    assert shop.sold == 1


async def test_a_result_that_was_never_published_is_handed_back_when_its_instance_leaves(
    open_stage, refuse
):
    shop = Shop()
    stage = await open_stage(shop.agent)
    refusal = refuse(stage, StepDone, AWAY, times=float("inf"))
    first = await stage.start("i1")
    await stage.step()
    await wait_until(lambda: len(refusal.refused) >= 2, timeout_s=30, message="it is tried again")
    await asyncio.wait_for(first.leave(), 30)
    refusal.times = 0
    await stage.start("i2")

    done = await stage.said(DONE)

    assert (done.outcome, done.instance) == (StepOutcome.OK, "i2")


async def test_a_sign_of_life_that_is_not_published_fails_no_step(open_stage, refuse):
    shop = Shop()
    shop.heartbeats = 4
    stage = await open_stage(shop.agent)
    refuse(stage, StepProgress, AWAY)
    await stage.start()
    await stage.step()

    assert (await stage.said(DONE)).output == "sold 1"
    assert sum(isinstance(fact.message, StepProgress) for fact in stage.facts) == 1


async def test_a_job_is_created_once_although_kafka_does_not_hear_of_its_start(open_stage, refuse):
    created: list[str] = []
    farm = JobAgent[str]("farm", description="Farms", first_poll_s=0.02)

    @farm.create
    async def create(ctx: StepContext) -> str:
        created.append(ctx.idempotency_key)
        return ctx.idempotency_key

    @farm.get
    async def get(_job: str) -> JobStatus:
        return JobStatus.succeeded("corn")

    @farm.delete
    async def delete(_job: str) -> None:
        raise AssertionError("it has ended by itself")

    stage = await open_stage(farm)
    refuse(stage, StepStarted, AWAY)
    await stage.start()
    await stage.step()

    assert (await stage.said(DONE)).output == "corn"
    assert created == ["r1/s1/1"]
