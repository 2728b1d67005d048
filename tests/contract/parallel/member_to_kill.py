"""A member in a process of its own, to be killed: `member_to_kill.py BOOTSTRAP TOPIC GROUP LOG`."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection, KafkaSettings
from starlings.kafka.parallel import ParallelConsumer
from starlings.messages import CancelRequested


async def main(log: TextIO) -> None:
    bootstrap, topic, group_id = sys.argv[1:4]
    blocked = {f"r{number}" for number in os.environ["BLOCKED"].split(",")}

    async def handle(received):
        if received.message.run_id in blocked:
            await asyncio.Event().wait()
        print(received.message.run_id, file=log, flush=True)

    async def bury(record, error):
        raise AssertionError((record, error))

    with tempfile.TemporaryDirectory() as folder:
        consumer = ParallelConsumer(
            Connection(KafkaSettings(bootstrap=bootstrap), client_id="to-be-killed"),
            Codec(source="test", blobs=BlobStore(f"file://{folder}")),
            topic=topic,
            group_id=group_id,
            concurrency=10,
            handler=handle,
            on_undecodable=bury,
            on_poison=bury,
            default=CancelRequested,
        )
        await consumer.run(asyncio.Event(), 1)


with Path(sys.argv[4]).open("a") as file:
    asyncio.run(main(file))
