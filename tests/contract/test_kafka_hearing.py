"""A follower knows for how long it could have heard something."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.waiting import wait_until

from starlings.blobs import BlobStore
from starlings.kafka.admin import ensure_topics
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.follow import Follower
from starlings.kafka.hearing import ANSWERS_WITHIN_S

pytestmark = pytest.mark.kafka
AWAY_S = 2 * ANSWERS_WITHIN_S + 2


async def follow(follower: Follower) -> None:
    async for _ in follower:
        pass


async def test_silence_of_a_broker_that_is_away_does_not_count(own_broker, topics, tmp_path):
    connection = Connection(KafkaSettings(bootstrap=own_broker.bootstrap))
    await ensure_topics(connection, topics.core_specs(partitions=1))
    codec = Codec(source="test", blobs=BlobStore(tmp_path.as_uri()))
    follower = Follower(connection, codec, topics.agents)
    following = asyncio.create_task(follow(follower))
    await asyncio.wait_for(follower.caught_up.wait(), 30)
    began = follower.hearing()
    await wait_until(  # although nothing is published
        lambda: follower.hearing() > began + ANSWERS_WITHIN_S + 0.5,
        timeout_s=30,
        message="an idle topic's silence counts",
    )
    own_broker.pause()
    paused_s, heard_s = time.monotonic(), follower.hearing()
    await wait_until(
        lambda: time.monotonic() > paused_s + AWAY_S, timeout_s=30, message="a while has passed"
    )
    deaf_s = follower.hearing() - heard_s
    own_broker.resume()
    assert deaf_s <= ANSWERS_WITHIN_S + 1  # what was under way when it was paused may still arrive
    back = follower.hearing()
    await wait_until(
        lambda: follower.hearing() > back + ANSWERS_WITHIN_S + 0.5,
        timeout_s=60,
        message="silence counts again",
    )
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
