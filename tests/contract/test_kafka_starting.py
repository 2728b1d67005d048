"""A client whose start is cancelled leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings

import pytest

from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.starting import start_client

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21])
async def test_a_start_that_is_cancelled_leaves_no_connection_open(kafka, turns):
    connection = Connection(KafkaSettings(bootstrap=kafka.bootstrap), client_id="test")
    consumer = connection.consumer()
    starting = asyncio.create_task(start_client(consumer))
    for _ in range(turns):  # of the event loop: somewhere within the start
        await asyncio.sleep(0)
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):  # else it had started already
        await starting
    await consumer.stop()
    del consumer, starting
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
