"""The driver: publishes plans and watches runs end, with bare aiokafka, so that it costs little.

Plans go straight onto `events`: the planner is not what is measured. Ends are known by headers.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from starlings.messages import (
    Envelope,
    Headers,
    Message,
    PlanCreated,
    RunDone,
    StepDone,
    StepScheduled,
    Topics,
    run_key,
)
from starlings.messages.plan import Plan, Step

from .floor import producer
from .system import PARTITIONS

WAIT_S = 300.0
_PLACEHOLDER = "a-run-id-to-be-replaced"
_WATCHED = {model.CE_TYPE.encode(): model.NAME for model in (RunDone, StepDone, StepScheduled)}


class RunFailedError(RuntimeError):
    """A run of the benchmark did not complete: figures of it would mean nothing."""


def plan_of(steps: Iterable[Step]) -> bytes:
    """Write a `plan_created` once, for any number of runs."""
    fact = PlanCreated(run_id=_PLACEHOLDER, plan=Plan(steps=list(steps)))
    return fact.model_dump_json(exclude_defaults=True).encode()


class Driver:
    """One producer and one reader of all of `events`."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self._events = topics.events
        self._producer: AIOKafkaProducer = producer(bootstrap)
        self._reader = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50
        )
        self._news = asyncio.Event()
        self._count = 0
        self.seen: Counter[str] = Counter()
        self.ends: dict[str, float] = {}
        self.results: dict[str, bytes] = {}
        self.finished: dict[str, set[str]] = {}  # steps by who reported their results

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[Driver]:
        """Connect, and follow `events` from its end."""
        await self._producer.start()
        await self._reader.start()
        places = [TopicPartition(self._events, n) for n in range(PARTITIONS)]
        self._reader.assign(places)
        await self._reader.seek_to_end(*places)
        for place in places:
            await self._reader.position(place)
        watching = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await self._reader.stop()
            await self._producer.stop()

    # -- publishing ------------------------------------------------------------------------------

    def new_ids(self, count: int) -> list[str]:
        """Name runs that were not there before."""
        self._count += count
        return [f"bench-{n}" for n in range(self._count - count, self._count)]

    async def begin(self, run_ids: Iterable[str], plan: bytes) -> None:
        """Publish the same plan for many runs."""
        for run_id in run_ids:
            value = plan.replace(_PLACEHOLDER.encode(), run_id.encode())
            await self._send(PlanCreated, run_id, f"{run_id}/plan_created", value)
        await self._producer.flush()

    async def report(self, fact: StepDone, ident: str) -> None:
        """Publish an agent's result in its place."""
        await self._send(StepDone, fact.run_id, ident, fact.model_dump_json().encode())

    async def flush(self) -> None:
        """Wait until all that was sent is acknowledged."""
        await self._producer.flush()

    async def _send(self, kind: type[Message], run_id: str, ident: str, value: bytes) -> None:
        now_ms = time.time_ns() // 1_000_000
        headers: Headers = Envelope(ident, kind.CE_TYPE, "bench", run_id, now_ms).headers()
        await self._producer.send(self._events, value, key=run_key(run_id), headers=headers)

    # -- watching --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            batches = await self._reader.getmany(timeout_ms=1_000, max_records=5_000)
            now = time.perf_counter()
            for records in batches.values():
                for record in records:
                    self._note(record, now)
            self._news.set()

    def _note(self, record: ConsumerRecord, now: float) -> None:
        kind = _WATCHED.get(next(value for key, value in record.headers if key == "ce_type"))
        if kind is None:
            return
        self.seen[kind] += 1
        if kind == StepDone.NAME:
            headers = {name: value.decode() for name, value in record.headers}
            self.finished.setdefault(headers["ce_source"], set()).add(headers["ce_id"])
        if kind == RunDone.NAME:
            run_id = record.key.decode()
            self.ends.setdefault(run_id, now)
            self.results[run_id] = record.value

    async def until(self, reached: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        """Wait until what has been seen is enough."""
        async with asyncio.timeout(wait_s):
            while not reached():
                self._news.clear()
                await self._news.wait()

    async def ended(self, run_ids: list[str], wait_s: float = WAIT_S) -> float:
        """Wait until all these runs have ended; give the time of the last end."""
        await self.until(lambda: all(run_id in self.ends for run_id in run_ids), wait_s)
        return max(self.ends[run_id] for run_id in run_ids)

    def check(self, run_ids: Iterable[str]) -> None:
        """Make sure that runs whose result is small enough to be inline have completed."""
        for run_id in run_ids:
            value = self.results[run_id]
            if b'"outcome"' in value and b'"outcome":"completed"' not in value:
                raise RunFailedError(f"run {run_id} did not complete: {value[:500]!r}")
