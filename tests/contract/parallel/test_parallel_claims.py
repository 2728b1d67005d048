"""Claims on a real Kafka: what a living member works on is started by nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support.waiting import wait_until

from starlings.agents.checkpoints import CheckpointStore
from starlings.agents.claims import Claims
from starlings.agents.own_claims import ClaimSettings
from starlings.kafka.admin import ensure_topics
from starlings.kafka.offsets import Done
from starlings.kafka.parallel import cancellation
from starlings.kafka.publisher import Publisher
from starlings.messages import AttemptCheckpoint, CallCheckpoint, Claim, Envelope
from starlings.service import KafkaPorts

pytestmark = pytest.mark.kafka
LONG_S = 600.0  # a lease that no test waits for


def work(number: int) -> str:
    return f"r1/s{number}/1"


@dataclass
class Stage:
    """A bench whose members claim what they work on."""

    bench: Any
    ports: KafkaPorts
    stack: contextlib.AsyncExitStack
    ahead_s: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[tuple[int, str]] = field(default_factory=list)

    @property
    def checkpoints(self) -> str:
        return self.ports.topics.checkpoints("test")

    def store(self) -> CheckpointStore:
        return CheckpointStore(self.ports, self.checkpoints)

    async def put(self, *numbers: int, partition: int = 0) -> None:
        ids = {number: f"{work(number)}/step_ready" for number in numbers}
        await self.bench.put(*numbers, partition=partition, ids=ids)

    async def wait_for_gate(self, number: int, _received: Any) -> None:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append((number, cancellation().value))
            raise

    def clock(self) -> float:
        """Tell the time of the members, which a test may put forward."""
        return asyncio.get_running_loop().time() + self.ahead_s

    async def member(self, name: str, *, lease_s: float = LONG_S, after_s: float = 1.0, **options):
        claims = Claims(
            self.store(),
            topic=self.bench.topic,
            instance=name,
            settings=ClaimSettings(after_s=after_s, lease_s=lease_s),
            clock=self.clock,
        )
        await self.stack.enter_async_context(claims.kept())
        handler = options.pop("work", self.wait_for_gate)
        member = self.bench.member(handler, custody=claims, **options)
        member.claims = claims
        # left before its claims are: as the runtime does it
        self.stack.push_async_callback(member.leave)
        return member

    async def checkpoints_written(self) -> int:
        places = [TopicPartition(self.checkpoints, n) for n in range(self.bench.partitions)]
        async with self.bench.connection.reading() as consumer:
            return sum((await consumer.end_offsets(places)).values())


@pytest.fixture
async def open_stage(open_bench, topics) -> AsyncIterator[Any]:
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(partitions: int = 1) -> Stage:
            bench = await open_bench(partitions)
            specs = topics.agent_specs("test", partitions=partitions)
            await ensure_topics(bench.connection, [*specs, *topics.core_specs(partitions=1)])
            publisher = Publisher(bench.connection, bench.codec)
            await publisher.start()
            stack.push_async_callback(publisher.stop)
            ports = KafkaPorts(bench.connection, bench.codec, publisher, topics)
            return Stage(bench, ports, stack)

        yield open_one


async def both_own_half(stage: Stage, first: Any, second: Any) -> None:
    await stage.bench.ready(second, 2)
    await stage.bench.ready(first, 2)


@pytest.mark.parametrize("after_s", [0.2, 600.0], ids=["long at work", "begun a moment ago"])
async def test_what_a_member_works_on_goes_on_there_when_its_partition_is_lost(open_stage, after_s):
    stage = await open_stage(4)
    for partition in range(4):
        await stage.put(*range(partition * 10, partition * 10 + 3), partition=partition)
    first = await stage.member("first", after_s=after_s, concurrency=20)
    await wait_until(lambda: first.consumer.running == 12, timeout_s=20, message="all at work")
    if after_s < 1:
        store = stage.store()

        async def all_claimed() -> bool:
            await store.restore(range(4))
            return sum(len(store.of_partition(p)) for p in range(4)) == 12

        await wait_until(all_claimed, timeout_s=20, message="all are claimed")
    second = await stage.member("second", concurrency=1)  # what it leaves alone takes no slot
    await both_own_half(stage, first, second)
    lost = next(iter(second.consumer.assigned)).partition
    await stage.put(1000, partition=lost)
    await wait_until(lambda: second.started == [1000], message="it goes on with new work")

    stage.gate.set()
    for partition in range(4):
        await stage.bench.wait_done(Done(4 if partition == lost else 3), partition=partition)
    assert (
        sorted(first.started)
        == sorted(first.ended)
        == [p * 10 + n for p in range(4) for n in range(3)]
    )
    assert second.started == [1000]
    assert stage.cancelled == []


async def test_work_that_changes_hands_again_and_again_is_done_once(open_stage):
    stage = await open_stage(4)
    for partition in range(4):
        await stage.put(*range(partition * 10, partition * 10 + 3), partition=partition)
    first = await stage.member("first", concurrency=20)
    await wait_until(lambda: first.consumer.running == 12, timeout_s=20, message="all at work")
    second = await stage.member("second")
    await both_own_half(stage, first, second)
    third = await stage.member("third")
    await wait_until(
        lambda: sorted(len(m.consumer.assigned) for m in (first, second, third)) == [1, 1, 2],
        timeout_s=20,
        message="the third has its share",
    )
    await second.leave()
    await third.leave()
    await stage.bench.ready(first, 4)  # it has them all again, and all are still at work
    stage.gate.set()
    for partition in range(4):
        await stage.bench.wait_done(Done(3), partition=partition)
    assert (
        sorted(first.started)
        == sorted(first.ended)
        == [p * 10 + n for p in range(4) for n in range(3)]
    )
    assert (second.started, third.started) == ([], [])


async def test_the_work_of_a_dead_member_runs_again_when_its_claim_is_not_renewed(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    claim = Claim(instance="dead", lease_s=1.5)
    await stage.store().put(0, AttemptCheckpoint(work=work(0), offset=0, claim=claim))
    stage.gate.set()
    member = await stage.member("alive")
    await wait_until(lambda: member.ended == [1], message="what nobody claims is begun at once")
    began = asyncio.get_running_loop().time()
    await wait_until(lambda: member.ended == [1, 0], message="the claim has expired")
    assert asyncio.get_running_loop().time() - began > 1.0
    await stage.bench.wait_done(Done(2))


async def test_a_claim_that_is_renewed_holds_for_longer_than_a_lease(open_stage):
    stage = await open_stage()
    await stage.put(0)
    store, renewal = stage.store(), 0
    stage.gate.set()
    member = None
    for renewal in range(12):
        claim = Claim(instance="other", lease_s=1.5, renewal=renewal)
        await store.put(0, AttemptCheckpoint(work=work(0), offset=0, claim=claim))
        member = member or await stage.member("alive")
        await asyncio.sleep(0.3)  # time has to pass: over twice the lease in all
    assert member.started == []
    await store.put(0, AttemptCheckpoint(work=work(0), offset=0))
    await wait_until(lambda: member.ended == [0], message="released, it runs at once")


async def test_a_predecessor_of_the_same_name_is_dead_at_once(open_stage):
    stage = await open_stage()
    await stage.put(0)
    claim = Claim(instance="pod-0", lease_s=LONG_S)
    await stage.store().put(0, AttemptCheckpoint(work=work(0), offset=0, claim=claim))
    stage.gate.set()
    member = await stage.member("pod-0")
    await wait_until(lambda: member.ended == [0], message="it runs again")


async def test_a_member_that_stops_hands_back_what_does_not_end_in_time(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    first = await stage.member("first", after_s=0.1, grace_s=0.3)
    await wait_until(lambda: first.consumer.running == 2, timeout_s=20, message="all at work")
    await wait_until(
        lambda: len(first.claims.store.of_partition(0)) == 2, message="both are claimed"
    )
    await first.leave()
    assert sorted(stage.cancelled) == [(0, "shutdown"), (1, "shutdown")]
    stage.gate.set()
    second = await stage.member("second")
    await second.ended_count(2)  # although the leases would have held for minutes


async def test_work_that_ended_while_nobody_owned_its_partition_is_not_begun_again(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    other = stage.store()
    claim = Claim(instance="other", lease_s=LONG_S)
    await other.put(0, AttemptCheckpoint(work=work(0), offset=0, claim=claim))
    await other.drop(0, work(0))
    stage.gate.set()
    member = await stage.member("next")
    await stage.bench.wait_done(Done(2))
    assert member.started == [1]


async def test_work_that_somebody_else_has_taken_over_is_stopped(open_stage):
    stage = await open_stage(2)
    await stage.put(0, partition=0)
    await stage.put(1, partition=1)
    first = await stage.member("first", after_s=0.1)
    await wait_until(lambda: first.consumer.running == 2, timeout_s=20, message="all at work")
    second = await stage.member("second")
    await stage.bench.ready(second, 1)
    (lost,) = (tp.partition for tp in second.consumer.assigned)
    claim = Claim(instance="third", lease_s=LONG_S)
    await stage.store().put(lost, AttemptCheckpoint(work=work(lost), offset=0, claim=claim))
    await wait_until(lambda: stage.cancelled == [(lost, "lost")], message="it is stopped")
    stage.gate.set()
    await wait_until(lambda: first.ended == [1 - lost], message="the other one goes on")
    assert second.started == []


async def test_an_owner_that_stood_still_for_a_lease_reads_before_it_renews(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    member = await stage.member("frozen", after_s=0.1)
    store = member.claims.store
    await wait_until(
        lambda: len(store.of_partition(0)) == 2, timeout_s=20, message="both are claimed"
    )
    claim = Claim(instance="successor", lease_s=LONG_S)
    await stage.store().put(0, AttemptCheckpoint(work=work(0), offset=0, claim=claim))
    stage.ahead_s = 2 * LONG_S
    await wait_until(lambda: stage.cancelled == [(0, "lost")], message="what was taken is stopped")
    later = stage.store()

    async def renewed() -> bool:
        await later.restore([0])
        return later.get(0, work(1)).claim.renewal > 1

    await wait_until(renewed, message="the other one is claimed on")
    assert later.get(0, work(0)).claim == claim  # and nothing was written over it


async def test_what_a_dead_owner_left_of_finished_work_is_cleared_away(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    store = stage.store()
    await store.put(
        0, AttemptCheckpoint(work=work(0), offset=0, claim=Claim(instance="x", lease_s=9))
    )
    await store.put(0, CallCheckpoint(work=work(0), offset=0, call="ask", answer=1))
    await store.put(0, AttemptCheckpoint(work="r1/job/1", offset=0, job={"handle": 1}))
    await stage.bench.commit(1, "")
    stage.gate.set()
    member = await stage.member("next")
    await member.ended_count(1)
    later = stage.store()

    async def cleared() -> bool:
        await later.restore([0])
        return not later.view(0).keys(work(0))

    await wait_until(cleared, message="what is left of it is gone")
    assert set(later.of_partition(0)) == {"r1/job/1"}  # a job outlives the record that made it
    assert member.started == [1]


async def test_work_of_which_a_newer_version_wrote_is_left_alone_and_holds_up_nothing(open_stage):
    stage = await open_stage()
    await stage.put(0, 1)
    headers = Envelope("x", "starlings.attempt_checkpoint.v2", "t", "r1", 1).headers()
    value = json.dumps({"work": work(0)}).encode()
    await stage.ports.publisher.forward(
        stage.checkpoints, work(0).encode(), value, headers=headers, partition=0
    )
    stage.gate.set()
    member = await stage.member("old")
    await stage.bench.wait_done(Done(0, ((1, 2),)))
    assert member.started == [1]
    await stage.put(2)
    await member.ended_count(2)
    assert member.started == [1, 2]


async def take_values_up_to(stage: Stage, size_bytes: int) -> None:
    """Have Kafka refuse larger checkpoints from now on."""
    resource = ConfigResource(
        ConfigResourceType.TOPIC,
        stage.checkpoints,
        configs={"cleanup.policy": "compact", "max.message.bytes": str(size_bytes)},
    )
    admin = stage.bench.connection.admin()
    try:
        await admin.start()
        for response in await admin.alter_configs([resource]):
            assert all(error[0] == 0 for error in response.resources), response
    finally:
        await admin.close()


async def test_work_whose_claim_kafka_refuses_waits_says_so_once_and_goes_on_when_mended(
    open_stage,
):
    stage = await open_stage()
    await stage.put(0, 1)
    for number in (0, 1):
        claim = Claim(instance="pod-0", lease_s=LONG_S)
        await stage.store().put(0, AttemptCheckpoint(work=work(number), offset=number, claim=claim))
    await take_values_up_to(stage, 20)
    stage.gate.set()
    with structlog.testing.capture_logs() as lines:
        member = await stage.member("pod-0")
        publisher = stage.ports.publisher
        await wait_until(lambda: publisher.failed >= 6, timeout_s=30, message="it tries on")
        assert member.started == []
        told = [line for line in lines if "taken over" in line["event"]]
        assert [(line["log_level"], stage.checkpoints in line["error"]) for line in told] == [
            ("error", True)
        ]
        assert sum("claims not written" in line["event"] for line in lines) <= 1
        await take_values_up_to(stage, 1_000_000)
        await member.ended_count(2)
    assert any(line["event"] == "records are taken over again" for line in lines)
    assert member.consumer.counters.handed_back == 0
    await stage.bench.wait_done(Done(2))


async def test_short_work_writes_nothing(open_stage):
    stage = await open_stage()
    stage.gate.set()
    await stage.put(*range(200))
    member = await stage.member("first")
    await member.ended_count(200)
    await stage.bench.wait_done(Done(200))
    assert await stage.checkpoints_written() == 0
