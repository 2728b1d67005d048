"""Results that are in the log already: a step that finished is not done a second time.

An agent publishes a step's result, and a quarter of a second later at most it commits that the step
is done. Killed in between, it leaves finished steps that look unfinished. So before a step is
started that a predecessor may have been at work on, the tail of `events` is read once, from the
predecessor's last commit on, and where it holds the step's result there is nothing left to do.

The predecessor's clock is compared with the brokers' there. `SKEW_MS` is how far they may differ.
Results from before a rewind of the group do not count: whoever rewinds wants the work done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from starlings.kafka.codec import Received
from starlings.kafka.connection import Connection
from starlings.kafka.parallel import Inheritance
from starlings.messages import (
    CompensationDone,
    CompensationReady,
    Message,
    Origin,
    StepDone,
    StepReady,
    TransientError,
    attempt_id,
    undo_id,
)

log = structlog.get_logger(__name__)

SKEW_MS = 3_000
FURTHER_MS = 2_000  # so that one reading does for all partitions of an assignment
MOST = 200_000  # records to look through, over all partitions; beyond, a step may run again
STALLED_S = 30.0
_POLL_MS = 200
_BATCH = 5_000
_RESULTS = {kind.CE_TYPE.encode() for kind in (StepDone, CompensationDone)}


class Settled:
    """Knows results that predecessors have published."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        inheritance: Callable[[Origin], Inheritance | None],
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._inheritance = inheritance
        self._reading = asyncio.Lock()
        self._serial = -1
        self._since_ms = 0
        self._results: dict[bytes, int] = {}  # id → when it came last

    def concerns(self, received: Received) -> bool:
        """Say whether others may have done this work; of most, none has."""
        return self._inheritance(received.origin) is not None

    async def knows(self, received: Received) -> bool:
        """Say whether the result of this work is in the log, as far as others may have done it.

        Raises:
            KafkaError: Kafka is away.
            TransientError: it does not go on.
        """
        inherited = self._inheritance(received.origin)
        result = _result_of(received.message)
        if inherited is None or result is None:
            return False
        since_ms = max(inherited.since_ms, received.timestamp_ms) - SKEW_MS
        async with self._reading:
            if inherited.serial > self._serial or since_ms < self._since_ms:
                self._results = await self._read(since_ms - FURTHER_MS)
                self._serial = max(inherited.serial, self._serial)
                self._since_ms = since_ms - FURTHER_MS
        found_ms = self._results.get(result.encode())
        if found_ms is None or found_ms < inherited.rewound_ms:
            return False
        log.info("not done again: its result is in the log", result=result)
        return True

    async def _read(self, since_ms: int) -> dict[bytes, int]:
        places = [
            TopicPartition(self._topic, number)
            for number in await self._connection.partitions(self._topic)
        ]
        async with self._connection.reading() as consumer:
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found = await consumer.offsets_for_times(dict.fromkeys(places, max(0, since_ms)))
            for place in places:
                start = found[place].offset if found.get(place) else ends[place]
                consumer.seek(place, max(start, ends[place] - MOST // len(places)))
            return await _results_before(consumer, ends)


async def _results_before(
    consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> dict[bytes, int]:
    results: dict[bytes, int] = {}
    loop = asyncio.get_running_loop()
    alive = loop.time()
    while any([await consumer.position(place) < end for place, end in ends.items()]):
        batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
        for records in batches.values():
            for record in records:
                headers = dict(record.headers)
                if headers.get("ce_type") in _RESULTS:
                    results[headers.get("ce_id", b"")] = record.timestamp
        if batches:
            alive = loop.time()
            await asyncio.sleep(0)  # what is at work goes on
        elif loop.time() - alive > STALLED_S:
            raise TransientError("results that are in the log already: nothing arrives of them")
    return results


def _result_of(work: Message) -> str | None:
    if isinstance(work, StepReady):
        return attempt_id(work.run_id, work.step_id, work.attempt, StepDone.NAME)
    if isinstance(work, CompensationReady):
        return undo_id(work.run_id, work.step_id, work.attempt, work.number, CompensationDone.NAME)
    return None
