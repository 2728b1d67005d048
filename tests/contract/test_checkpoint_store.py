"""The store of checkpoints on a real Kafka: what is written is restored, followed and dropped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka import TopicPartition
from support.sites import Site, records_of
from support.waiting import wait_until

from starlings.agents.checkpoints import CheckpointStore
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import CLAIM_HEADER
from starlings.kafka.publisher import Publisher
from starlings.messages import AttemptCheckpoint, CallCheckpoint, Claim, Envelope, header
from starlings.service import KafkaPorts

pytestmark = pytest.mark.kafka
WORK = "r1/s1/1"
PARTITIONS = 3

OpenStore = Callable[[], Awaitable[CheckpointStore]]


def attempt(work: str = WORK, *, instance: str = "one", renewal: int = 0, offset: int = 7):
    claim = Claim(instance=instance, lease_s=5, renewal=renewal)
    return AttemptCheckpoint(work=work, offset=offset, claim=claim)


def answer(name: str, value, work: str = WORK):
    return CallCheckpoint(work=work, offset=7, call=name, answer=value)


@pytest.fixture
async def site(plain_site) -> Site:
    specs = plain_site.topics.agent_specs("test", partitions=PARTITIONS)
    core = plain_site.topics.core_specs(partitions=1)
    await ensure_topics(plain_site.connection, [*specs, *core], replication=1)
    return plain_site


@pytest.fixture
async def open_store(site) -> AsyncIterator[OpenStore]:
    """Open stores, each with connections of its own, as another process has."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one() -> CheckpointStore:
            publisher = Publisher(site.connection, site.codec)
            await publisher.start()
            stack.push_async_callback(publisher.stop)
            ports = KafkaPorts(site.connection, site.codec, publisher, site.topics)
            store = CheckpointStore(ports, site.topics.checkpoints("test"))
            stack.push_async_callback(store.close)
            return store

        yield open_one


async def write_raw(
    site: Site, key: str, value: bytes | None, kind: str | None = None, partition: int = 0
) -> None:
    """Write what our own code would not."""
    headers = Envelope("x", kind, "tests", "r1", 1).headers() if kind else []
    producer = site.connection.producer()
    await producer.start()
    try:
        await producer.send_and_wait(
            site.topics.checkpoints("test"),
            value,
            key=key.encode(),
            partition=partition,
            headers=headers,
        )
    finally:
        await producer.stop()


async def test_what_was_put_is_known_at_once_and_restored_by_the_next_owner(open_store):
    first, second = await open_store(), await open_store()
    job = AttemptCheckpoint(work="r1/s2/1", offset=8, job={"handle": "h", "polls": 3})
    await first.put(2, attempt())
    await first.put(2, job)
    await first.put(2, answer("ask", {"usage": 12345678901234567890}))
    await first.put(1, attempt("r2/s1/1"))

    await second.restore([0, 2])

    for store in (first, second):
        assert store.get(2, WORK) == attempt()
        assert dict(store.of_partition(2)) == {WORK: attempt(), "r1/s2/1": job}
        assert store.view(2).call(WORK, "ask").answer == {"usage": 12345678901234567890}
    assert dict(second.of_partition(0)) == {}
    assert second.get(1, "r2/s1/1") is None  # that partition was not asked for


async def test_a_dropped_piece_of_work_is_gone_with_all_its_answers_and_known_to_have_ended(
    open_store,
):
    first, second = await open_store(), await open_store()
    await first.put(0, attempt())
    await first.put(0, answer("a", 1))
    await first.put(0, answer("b", 2))
    await first.put(0, answer("a", 3, work="r1/s1/2"))
    await first.drop(0, WORK)

    await second.restore([0])

    for store in (first, second):
        view = store.view(0)
        assert (view.keys(WORK), view.attempts, view.ended(WORK)) == ((), {}, True)
        assert view.call("r1/s1/2", "a").answer == 3
        assert not view.ended("r1/s1/2")
        assert not view.ended("r1/s9/1")


async def test_restoring_again_reads_on_and_sees_what_others_wrote_meanwhile(open_store):
    first, second = await open_store(), await open_store()
    await first.put(0, attempt(renewal=1))
    await second.restore([0])
    await second.put(0, attempt("r1/s2/1"))
    await first.put(0, attempt(renewal=2))
    assert second.get(0, WORK).claim.renewal == 1
    await second.restore([0])
    assert second.get(0, WORK).claim.renewal == 2
    assert second.get(0, "r1/s2/1") == attempt("r1/s2/1")
    second.forget(0)
    assert second.of_partition(0) == {}
    await second.restore([0])
    assert set(second.of_partition(0)) == {WORK, "r1/s2/1"}


async def test_what_others_write_is_followed_and_told(open_store):
    first, second = await open_store(), await open_store()
    await first.put(0, attempt())
    await second.restore([0, 1])
    told, current = [], []
    second.on_change.append(lambda partition, work: told.append((partition, work)))
    second.follow([0, 1], current=lambda: current.append(1))
    await wait_until(lambda: current, message="it has read all that is there")
    await first.put(0, attempt(renewal=1))
    await first.put(1, attempt("r2/s1/1"))
    await wait_until(lambda: {*told} == {(0, WORK), (1, "r2/s1/1")}, message="what was put is told")
    await first.drop(0, WORK)
    await wait_until(lambda: second.view(0).ended(WORK), message="the end is told")
    second.follow([1], current=lambda: None)
    await first.put(1, attempt("r2/s2/1"))
    await wait_until(lambda: second.get(1, "r2/s2/1"), message="the other one is followed on")


async def test_an_echo_of_our_own_writing_does_not_bring_back_what_was_dropped(open_store):
    store = await open_store()
    told = []
    store.on_change.append(lambda _partition, work: told.append(work))
    store.follow([0], current=lambda: None)
    for number in range(50):
        await store.put(0, attempt(renewal=number))
        assert store.get(0, WORK).claim.renewal == number
    await store.drop(0, WORK)
    await store.put(0, attempt("r1/last/1"))
    other = await open_store()
    await other.put(0, attempt("r2/other/1"))
    await wait_until(lambda: "r2/other/1" in told, message="all before it has been read")
    assert store.get(0, WORK) is None
    assert store.view(0).ended(WORK)


async def test_a_large_answer_travels_by_claim_check(site, open_store):
    first, second = await open_store(), await open_store()
    large = "x" * 2_000_000
    await first.put(0, answer("big", large))
    (record,) = await records_of(site, first.topic, 1)
    assert header(record.headers, CLAIM_HEADER) == "1"
    assert len(record.value) < 2_000
    await second.restore([0])
    assert second.view(0).call(WORK, "big").answer == large


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b"not json", "starlings.attempt_checkpoint.v1"),
        (b'{"claim": 7, "work": "r1/s1/1"}', "starlings.attempt_checkpoint.v1"),
        (b'{"work": "r9/other/1"}', "starlings.attempt_checkpoint.v1"),
        (b"{}", None),
    ],
)
async def test_a_corrupted_checkpoint_is_a_dead_letter_once_and_as_if_absent(
    site, open_store, value, kind
):
    await write_raw(site, WORK, value, kind)
    await write_raw(site, f"{WORK}#ask", b"{", "starlings.call_checkpoint.v1")
    store = await open_store()
    await store.put(0, attempt("r1/s2/1"))
    await store.restore([0])

    assert store.get(0, "r1/s2/1") == attempt("r1/s2/1")
    kept = store.get(0, WORK)
    assert kept in (None, AttemptCheckpoint(work=WORK))  # nobody's claim, no job
    assert not store.view(0).ended(WORK)
    assert store.view(0).call(WORK, "ask") is None
    dead = await records_of(site, site.topics.dead_letters, 2)
    assert {(r.key, r.value) for r in dead} == {
        (f"{store.topic}/0/0".encode(), value),
        (f"{store.topic}/0/1".encode(), b"{"),
    }
    again = await open_store()
    await again.restore([0])
    assert await ends(site, site.topics.dead_letters) == 2


async def ends(site: Site, topic: str) -> int:
    place = TopicPartition(topic, 0)
    async with site.connection.reading() as consumer:
        return (await consumer.end_offsets([place]))[place]


async def test_a_checkpoint_of_a_newer_version_stays_as_it_is_and_its_work_is_marked(
    site, open_store, caplog
):
    newer = json.dumps({"work": WORK, "claims": []}).encode()
    await write_raw(site, WORK, newer, "starlings.attempt_checkpoint.v2")
    await write_raw(site, "r1/s2/1#ask", b"{}", "starlings.call_checkpoint.v9")
    store = await open_store()
    await store.put(0, answer("other", 1))
    await store.restore([0])

    assert store.view(0).newer(WORK) == "starlings.attempt_checkpoint.v2"
    assert store.view(0).newer("r1/s2/1") == "starlings.call_checkpoint.v9"
    assert store.view(0).newer("r1/s3/1") is None
    assert store.get(0, WORK) is None
    assert await ends(site, site.topics.dead_letters) == 0
    assert await ends(site, store.topic) == 3


async def test_a_checkpoint_of_the_past_or_with_unknown_fields_is_read(site, open_store):
    old = json.dumps({"work": WORK, "job": {"handle": 1}, "mood": "fine"}).encode()
    await write_raw(site, WORK, old, "starlings.attempt_checkpoint.v1")
    store = await open_store()
    await store.restore([0])
    assert store.get(0, WORK) == AttemptCheckpoint(work=WORK, job={"handle": 1})
