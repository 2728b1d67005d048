"""Asking a running system for something, and reading what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from starlings.client import Client, RunHandle
from starlings.client.handle import RunNotFound
from starlings.kafka.offsets import decode
from starlings.messages import PlanRejected, RunDone, RunOutcome, RunRequested, run_id_at

from . import awkward
from .services import Services

AWKWARD = str(Path(awkward.__file__))  # all agents in one process
SLOW = f"{AWKWARD}:slow"
WITHIN_S = 60.0


class Effect(NamedTuple):
    """A line that a slow step has left."""

    what: str
    run_id: str
    step_id: str
    attempt: int
    pid: int


def effects(services: Services, *, what: str | None = None) -> list[Effect]:
    """Read what slow steps have done so far."""
    file = services.folder / awkward.EFFECTS
    lines = file.read_text().splitlines() if file.exists() else []
    parts = (line.split() for line in lines)
    found = [Effect(p[0], p[1], p[2], int(p[3]), int(p[4])) for p in parts]
    return [effect for effect in found if what in (None, effect.what)]


def times_done(services: Services) -> Counter[tuple[str, str]]:
    """Count how often each slow step has been done to its end."""
    return Counter((e.run_id, e.step_id) for e in effects(services, what="did"))


async def with_agents(handle: RunHandle) -> int:
    """Count the attempts of a run that are with agents, as the log has it; none before its plan."""
    try:
        run = (await handle.view()).run
    except RunNotFound:
        return 0
    return run.out if run is not None and not run.owed else 0


async def steps_committed(services: Services, agent: str) -> int:
    """Count the records of an agent's topic whose end has reached its group's commit.

    What ended after the last commit, a quarter of a second ago at most, is begun again after a
    crash: the next step of a test that kills waits for this.
    """
    connection = services.connection()
    topic = services.topics.steps(agent)
    places = [TopicPartition(topic, number) for number in await connection.partitions(topic)]
    commits = await connection.committed(services.topics.agent_group(agent), places)
    done = [decode(commit.offset, commit.metadata) for commit in commits.values()]
    return sum(each.low + sum(end - start for start, end in each.ranges) for each in done)


def slow(name: str, *depends_on: str, **told: Any) -> dict[str, Any]:
    """Describe a step of the agent `slow`; `gate="name"` makes it wait for that file."""
    return {"id": name, "agent": "slow", "input": told, "depends_on": list(depends_on)}


def call(agent: str, tool: str, **args: Any) -> dict[str, Any]:
    """Describe a step that calls a tool by its name."""
    return {"id": tool, "agent": agent, "tool": tool, "args": args}


def open_gate(services: Services, name: str) -> None:
    """Let the steps go on that wait for a gate."""
    (services.folder / name).touch()


@asynccontextmanager
async def bare_producer(services: Services, **options: Any) -> AsyncGenerator[AIOKafkaProducer]:
    """Have a producer that knows nothing of Starlings."""
    producer = AIOKafkaProducer(bootstrap_servers=services.kafka["KAFKA_BOOTSTRAP"], **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def request_bare(services: Services, *values: bytes, **options: Any) -> list[str]:
    """Produce requests without key and headers; return the run ids that their places give them."""
    topic = services.topics.requests
    async with bare_producer(services, **options) as producer:
        sent = [await producer.send_and_wait(topic, value) for value in values]
    return [run_id_at(topic, place.partition, place.offset) for place in sent]


async def end_of(services: Services, run_id: str, *, timeout_s: float = WITHIN_S) -> RunDone:
    """Wait for a run's end."""
    async with services.client() as client:
        return await client.run(run_id).result(timeout_s=timeout_s)


async def the_only_end(services: Services, run_id: str) -> RunDone:
    """Wait for a run's end, and see that nothing follows of it."""
    async with services.client() as client:
        await client.run(run_id).result(timeout_s=WITHIN_S)
        ends = await facts_of(client, run_id, RunDone)
    assert len(ends) == 1
    return ends[0]


async def rejection(services: Services, request: RunRequested) -> RunDone:
    """Ask for what is going to be refused; see that it is, once, with reasons and remedies."""
    async with services.client() as client:
        run = await client.submit_request(request)
    done = await the_only_end(services, run.run_id)
    assert done.outcome is RunOutcome.REJECTED, done
    assert done.problems
    assert all(problem.remedy for problem in done.problems)
    return done


async def facts_of(client: Client, run_id: str, kind: type[Any] = object) -> list[Any]:
    """Read the facts of a run that are in the log now, also those that follow its end."""
    received = client.read_run(run_id, None, follow=False)
    return [each.message async for each in received if isinstance(each.message, kind)]


def texts_of(done: RunDone | PlanRejected) -> str:
    """Put a rejection's problems into one text."""
    return "\n".join(str(problem) for problem in done.problems)


async def dead_letters(services: Services) -> list[ConsumerRecord]:
    """Read all dead letters that there are now."""
    return await records_in(services, [services.topics.dead_letters])


async def records_in(services: Services, topics: Iterable[str]) -> list[ConsumerRecord]:
    """Read all records that topics hold now, as they lie there."""
    connection = services.connection()
    places = [
        TopicPartition(topic, number)
        for topic in topics
        for number in await connection.partitions(topic)
    ]
    found: list[ConsumerRecord] = []
    async with connection.reading() as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    return found
