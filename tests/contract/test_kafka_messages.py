"""Messages over a real Kafka: large ones, bare ones, foreign ones, and those that are buried."""

from __future__ import annotations

import os

import pytest
from aiokafka import TopicPartition
from support.sites import records_of

from starlings.blobs import BlobStore
from starlings.kafka.codec import CLAIM_HEADER, Codec
from starlings.kafka.dead_letters import bury
from starlings.messages import ErrorInfo, RunRequested, StepDone, UndecodableMessage

pytestmark = pytest.mark.kafka
ERROR = ErrorInfo(code="not_json", message="not JSON, as it were: \ud800")


class TestLargeValues:
    async def test_five_megabytes_travel_by_claim_check(self, site, publisher_at):
        topic = await site.create("events")
        message = StepDone(
            run_id="r",
            step_id="s",
            attempt=1,
            agent="math",
            outcome="ok",
            output="x" * 5_000_000,
            summary="five million x",
        )
        await (await publisher_at(site)).publish(topic, b"r", message, id="m", subject="r")
        (record,) = await records_of(site, topic, 1)
        assert len(record.value) < 1_000
        assert (CLAIM_HEADER, b"1") in record.headers
        another_process = Codec(source="other", blobs=BlobStore(site.blobs.url))
        assert (await another_process.decode(record)).message == message


class TestBareProducers:
    async def test_a_line_without_headers_is_a_request(self, site, publisher_at):
        topic = await site.create("requests")
        await (await publisher_at(site)).forward(topic, None, b"Calculate 5 factorial", headers=[])
        (record,) = await records_of(site, topic, 1)
        received = await site.codec.decode(record, default=RunRequested)
        assert received.message == RunRequested(request="Calculate 5 factorial")
        assert received.envelope.id == str(received.origin) == f"{topic}/0/0"
        assert received.key is None

    async def test_foreign_messages_are_skipped_and_newer_fields_accepted(self, site, publisher_at):
        topic = await site.create("events")
        publisher = await publisher_at(site)
        value = b'{"run_id":"r","reason":"x","a_field_of_tomorrow":[1]}'
        kinds = (b"com.example.order.placed", b"starlings.cancel_requested.v1")
        for kind in kinds:
            await publisher.forward(topic, b"r", value, headers=[("ce_type", kind)])
        foreign, ours = await records_of(site, topic, 2)
        assert await site.codec.decode(foreign) is None
        assert (await site.codec.decode(ours)).message.reason == "x"


class TestDeadLetters:
    async def test_a_buried_message_is_untouched_and_says_why_and_where_it_lay(
        self, site, publisher_at
    ):
        topic = await site.create("events", partitions=2)
        await site.create("dead-letters")
        publisher = await publisher_at(site)
        headers = [("ce_id", b"\xff"), ("twice", b"1"), ("twice", b"2"), ("none", None)]
        placed = await publisher.forward(topic, b"\xffkey", b"\xff\xfe", headers=headers)
        record = await site.connection.record_at(
            TopicPartition(topic, placed.partition), placed.offset
        )

        await bury(publisher, record, ERROR, topics=site.topics)

        (buried,) = await records_of(site, site.topics.dead_letters, 1)
        assert buried.value == b"\xff\xfe"
        assert buried.key == f"{topic}/{placed.partition}/0".encode()
        assert list(buried.headers[:4]) == headers
        assert dict(buried.headers[4:]) == {
            "starlings_error_code": b"not_json",
            "starlings_error_message": b"not JSON, as it were: ?",
            "starlings_origin": f"{topic}/{placed.partition}/0".encode(),
            "starlings_origin_key": b"\xffkey",
        }

    async def test_what_is_buried_again_names_only_its_last_grave(self, plain_site, publisher_at):
        topic = await plain_site.create("dead-letters")
        publisher = await publisher_at(plain_site)
        await publisher.forward(topic, b"k", b"v", headers=[("starlings_origin", b"before")])
        (record,) = await records_of(plain_site, topic, 1)
        await bury(publisher, record, ERROR, topics=plain_site.topics)
        _, buried = await records_of(plain_site, topic, 2)
        assert [v for k, v in buried.headers if k == "starlings_origin"] == [
            f"{topic}/0/0".encode()
        ]

    async def test_a_message_that_leaves_no_room_for_the_reason_is_buried_by_claim(
        self, plain_site, publisher_at
    ):
        topic = await plain_site.create("events")
        await plain_site.create("dead-letters")
        publisher = await publisher_at(plain_site)
        value = os.urandom(1_048_400)
        await publisher.forward(topic, None, value, headers=[])
        (record,) = await records_of(plain_site, topic, 1)
        await bury(publisher, record, ERROR, topics=plain_site.topics)
        (buried,) = await records_of(plain_site, plain_site.topics.dead_letters, 1)
        assert dict(buried.headers)[CLAIM_HEADER] == b"1"
        with pytest.raises(UndecodableMessage, match="not UTF-8"):
            await plain_site.codec.decode(buried, default=StepDone)


class TestReadingOne:
    async def test_one_record_is_fetched_where_it_lies_and_none_where_it_is_not(
        self, site, publisher_at
    ):
        topic = await site.create("events")
        publisher = await publisher_at(site)
        await publisher.forward(topic, b"k", b"first", headers=[])
        place = TopicPartition(topic, 0)
        assert (await site.connection.record_at(place, 0)).value == b"first"
        assert await site.connection.record_at(place, 1) is None
        assert await site.connection.record_at(place, 1_000) is None
