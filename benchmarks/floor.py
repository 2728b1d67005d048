"""The floor: what bare aiokafka does with the same broker, message size and machine.

Two processes, two topics. `copier` reads one topic and writes each record to the other; the driver
measures rounds (one message in flight) and copies per second (all at once). Nothing of Starlings
is in it, so that ratios to it say what Starlings costs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PING, PONG = "floor.ping", "floor.pong"
VALUE = b"x" * 400
HEADERS = [(f"ce_{name}", b"y" * 24) for name in ("id", "type", "source", "subject", "time")]
WAIT_S = 120


@dataclass(frozen=True)
class Floor:
    """Figures of the floor."""

    round_p50_ms: float
    round_p99_ms: float
    copies_per_s: float


def producer(bootstrap: str) -> AIOKafkaProducer:
    """Make a producer with the settings that Starlings uses."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        acks="all",
        max_batch_size=1 << 20,
    )


async def consumer(bootstrap: str, topic: str) -> AIOKafkaConsumer:
    """Start a consumer of one topic's single partition, at its end."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50
    )
    await reader.start()
    place = TopicPartition(topic, 0)
    reader.assign([place])
    await reader.seek_to_end(place)
    await reader.position(place)
    return reader


async def copy(bootstrap: str) -> None:
    """Copy one topic to the other until killed."""
    reader, writer = await consumer(bootstrap, PING), producer(bootstrap)
    await writer.start()
    print("ready", flush=True)
    while True:
        for records in (await reader.getmany(timeout_ms=1000, max_records=2000)).values():
            for record in records:
                await writer.send(PONG, record.value, key=record.key, headers=list(record.headers))


async def rounds(bootstrap: str, count: int) -> list[float]:
    """Measure `count` rounds with one message in flight, in milliseconds."""
    reader, writer = await consumer(bootstrap, PONG), producer(bootstrap)
    await writer.start()
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await writer.send(PING, VALUE, key=b"k", headers=HEADERS)
        await asyncio.wait_for(reader.getone(), WAIT_S)
        times.append((time.perf_counter() - began) * 1000)
    await reader.stop()
    await writer.stop()
    return times[count // 10 :]


async def copies(bootstrap: str, count: int) -> float:
    """Measure how many records a second go through the copier."""
    reader, writer = await consumer(bootstrap, PONG), producer(bootstrap)
    await writer.start()
    began = time.perf_counter()

    async def feed() -> None:
        for _ in range(count):
            await writer.send(PING, VALUE, key=b"k", headers=HEADERS)
        await writer.flush()

    feeding = asyncio.create_task(feed())
    seen = 0
    while seen < count:
        batch = await asyncio.wait_for(reader.getmany(timeout_ms=1000, max_records=5000), WAIT_S)
        seen += sum(len(records) for records in batch.values())
    elapsed = time.perf_counter() - began
    await feeding
    await reader.stop()
    await writer.stop()
    return count / elapsed


@asynccontextmanager
async def copier(bootstrap: str) -> AsyncGenerator[None]:
    """Have the copier run for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, bootstrap, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None or b"ready" not in await process.stdout.readline():
            raise RuntimeError("the copier did not start")
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def lay_out(bootstrap: str) -> None:
    """Create the two topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(PING, 1, 1), NewTopic(PONG, 1, 1)])
    finally:
        await admin.close()


async def measure(bootstrap: str, *, round_count: int = 1_000, copy_count: int = 60_000) -> Floor:
    """Measure the floor against a running broker that has its topics."""
    async with copier(bootstrap):
        times = sorted(await rounds(bootstrap, round_count))
        await copies(bootstrap, copy_count // 10)  # warm
        rate = await copies(bootstrap, copy_count)
    return Floor(
        round_p50_ms=times[len(times) // 2],
        round_p99_ms=times[int(len(times) * 0.99)],
        copies_per_s=rate,
    )


if __name__ == "__main__":
    uvloop.run(copy(sys.argv[1]))
