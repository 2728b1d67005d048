"""What a publisher promises: acknowledged means it lies there; a refusal says what to do."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from support.sites import Site, records_of, settings_of
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.publisher import Publisher
from starlings.messages import (
    CancelRequested,
    ConfigError,
    Envelope,
    StarlingsError,
    Topics,
    TransientError,
)

pytestmark = pytest.mark.kafka
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def cancel(number: int = 1) -> CancelRequested:
    return CancelRequested(run_id=f"r{number}", reason="changed my mind")


class TestPublishing:
    async def test_a_message_lies_there_with_its_cloudevents_headers(self, site, publisher_at):
        topic = await site.create("events")
        publisher = await publisher_at(site)
        placed = await publisher.publish(
            topic,
            b"r1",
            cancel(),
            id="r1/cancel",
            subject="r1",
            traceparent=TRACE,
            causation_id="cause",
        )
        (record,) = await records_of(site, topic, 1)
        assert (record.partition, record.offset, record.key) == (0, placed.offset, b"r1")
        headers = dict(record.headers)
        assert headers.pop("ce_time").endswith(b"+00:00")
        assert headers == {
            "ce_specversion": b"1.0",
            "content-type": b"application/json",
            "ce_id": b"r1/cancel",
            "ce_type": b"starlings.cancel_requested.v1",
            "ce_source": b"test",
            "ce_subject": b"r1",
            "traceparent": TRACE.encode(),
            "ce_causationid": b"cause",
        }
        received = await site.codec.decode(record)
        assert received.message == cancel()
        assert received.envelope == Envelope(
            "r1/cancel",
            "starlings.cancel_requested.v1",
            "test",
            "r1",
            record.timestamp,
            TRACE,
            "cause",
        )

    async def test_many_can_be_under_way_and_keep_their_order(self, site, publisher_at):
        topic = await site.create("events")
        publisher = await publisher_at(site)
        under_way = [
            await publisher.send(topic, b"r", cancel(n), id=f"m{n}", subject="r")
            for n in range(2_000)
        ]
        await asyncio.gather(*under_way)
        records = await records_of(site, topic, 2_000)
        assert [dict(r.headers)["ce_id"] for r in records] == [b"m%d" % n for n in range(2_000)]
        assert (publisher.delivered, publisher.failed) == (2_000, 0)

    async def test_a_tombstone_has_a_key_and_nothing_else(self, site, publisher_at):
        topic = await site.create("agents")
        await (await publisher_at(site)).tombstone(topic, b"math/one")
        (record,) = await records_of(site, topic, 1)
        assert (record.key, record.value, list(record.headers)) == (b"math/one", None, [])


class TestRefusals:
    async def test_a_missing_topic_is_told_in_seconds_with_the_command(self, site, publisher_at):
        publisher = await publisher_at(site)
        began = time.monotonic()
        with pytest.raises(ConfigError, match="is missing: run `starlings topics ensure`"):
            await publisher.publish(
                f"{site.topics.prefix}nowhere", b"k", cancel(), id="m", subject="r"
            )
        assert time.monotonic() - began < 20

    async def test_a_message_above_one_mebibyte_is_told_with_size_and_limit(
        self, site, publisher_at
    ):
        topic = await site.create("events")
        publisher = await publisher_at(site)
        with pytest.raises(StarlingsError, match="larger than Kafka takes") as caught:
            await publisher.forward(topic, b"k", os.urandom(1_500_000), headers=[])
        assert caught.value.code == "message_too_large"
        assert "1500" in str(caught.value)

    async def test_a_refused_record_does_not_spoil_the_partition(self, site, publisher_at):
        topic = await site.create("small", max_message_bytes="2000")
        publisher = await publisher_at(site)
        await publisher.forward(topic, b"k", b"before", headers=[])
        with pytest.raises(StarlingsError) as caught:
            await publisher.forward(topic, b"k", os.urandom(10_000), headers=[])
        assert caught.value.code == "message_too_large"
        for value in (b"after", b"and after"):
            await publisher.forward(topic, b"k", value, headers=[])
        assert [r.value for r in await records_of(site, topic, 3)] == [
            b"before",
            b"after",
            b"and after",
        ]
        assert publisher.renewed == 1

    async def test_no_right_to_write_names_the_topic_and_the_acl(self, secured_kafka, publisher_at):
        app = site_at(settings_of(secured_kafka.environment("app")))
        publisher = await publisher_at(app)
        with pytest.raises(
            ConfigError, match=r"may not write to other\.x: it needs the ACLs WRITE"
        ):
            await publisher.publish("other.x", b"k", cancel(), id="m", subject="r")

    async def test_a_user_with_no_right_at_all_is_told_at_the_start(self, secured_kafka):
        spy = site_at(settings_of(secured_kafka.environment("spy")))
        with pytest.raises(ConfigError, match="may write to no topic at all: it needs the ACL"):
            await Publisher(spy.connection, spy.codec).start()

    async def test_before_its_start_a_publisher_says_so(self, plain_site):
        publisher = Publisher(plain_site.connection, plain_site.codec)
        with pytest.raises(TransientError, match="not started"):
            await publisher.forward("t", b"k", b"v", headers=[])
        await publisher.stop()

    async def test_a_broker_that_is_away_at_the_start_is_an_error_that_may_pass(self, own_broker):
        own_broker.stop()
        publisher = publisher_of(own_broker.bootstrap)
        with pytest.raises(TransientError, match="Unable to bootstrap"):
            await publisher.start()


class TestOutages:
    async def test_what_is_sent_while_the_broker_is_away_arrives_once_it_is_back(self, own_broker):
        site = site_at(KafkaSettings(bootstrap=own_broker.bootstrap))
        topic = await site.create("events")
        publisher = publisher_of(own_broker.bootstrap)
        await publisher.start()
        await publisher.forward(topic, b"k", b"0", headers=[])
        await asyncio.to_thread(own_broker.kill)
        under_way = [await publisher.send_raw(topic, b"k", b"%d" % n, []) for n in range(1, 100)]
        await asyncio.to_thread(own_broker.start)
        await asyncio.gather(*under_way)
        await publisher.stop()
        values = [record.value for record in await records_of(site, topic, 100)]
        assert values == [b"%d" % n for n in range(100)]

    async def test_stopping_without_a_broker_has_a_bound_and_fails_what_is_left(self, own_broker):
        site = site_at(KafkaSettings(bootstrap=own_broker.bootstrap))
        topic = await site.create("events")
        publisher = publisher_of(own_broker.bootstrap, stop_within_s=0.2)
        await publisher.start()
        await publisher.forward(topic, b"k", b"0", headers=[])
        await asyncio.to_thread(own_broker.kill)
        lost = await publisher.send_raw(topic, b"k", b"1", [])
        began = time.monotonic()
        await publisher.stop()
        assert time.monotonic() - began < 5
        await wait_until(lost.done, message="an answer for what could not be sent")
        assert lost.exception() is not None
        assert (publisher.delivered, publisher.failed) == (1, 1)


def site_at(settings: KafkaSettings) -> Site:
    return Site(settings, Topics("t."), BlobStore("memory:///"))


def publisher_of(bootstrap: str, **options: float) -> Publisher:
    codec = Codec(source="test", blobs=BlobStore("memory:///"))
    return Publisher(Connection(KafkaSettings(bootstrap=bootstrap)), codec, **options)
