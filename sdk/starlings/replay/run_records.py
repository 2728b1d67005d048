"""All that the log still holds of one run: its facts, and what lies of it on other topics.

First its facts are read, whose key is the run's; they tell when it ran and which agents it had.
Then, of the time since it began, what its agents were given and remember, the request, and its
dead letters; and of the registry what its agents said of themselves last.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka import ConsumerRecord

from starlings.client import RunNotFound, RunView
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.dead_letters import KEY, original_headers
from starlings.messages import (
    AgentDefined,
    ConfigError,
    EventHandled,
    Headers,
    PlanRejected,
    RunDone,
    StarlingsError,
    Topics,
    header,
    run_id_at,
    run_key,
)

from .archive import Archive
from .ranges import Range, ranges_of
from .reading import LogReader
from .selection import named_type

CLOCKS_DIFFER_MS = 600_000  # records of other topics bear the time of whoever wrote them
WAITED_MS = 7 * 86_400_000  # a request may have waited for its planner as long as it was kept
_FACTS = "facts."
_ENDS = frozenset({PlanRejected.NAME, RunDone.NAME})

Wanted = Callable[[str], bool]


class RecordedLog(Protocol):
    """Topics of one installation, read as often as is needed."""

    topics: Topics
    where: str  # said of what is not there

    async def ranges(self, wanted: Wanted, *, since_ms: int | None = None) -> list[Range]:
        """List what there is of the topics that are wanted."""

    def records(self, ranges: Sequence[Range]) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records of ranges."""


class LiveLog:
    """The topics as they lie on Kafka now."""

    where = "in the log; `starlings runs` lists what there is"

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self.topics = topics
        self._connection = connection

    async def ranges(self, wanted: Wanted, *, since_ms: int | None = None) -> list[Range]:
        """List what there is of the topics that are wanted."""
        names = sorted(filter(wanted, await self._connection.topic_names()))
        return await ranges_of(self._connection, names, since_ms=since_ms)

    def records(self, ranges: Sequence[Range]) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records of ranges."""
        return LogReader(self._connection, ranges).records()


class ArchivedLog:
    """The topics as a file holds them."""

    def __init__(self, archive: Archive) -> None:
        self.topics = Topics(archive.header.prefix)
        self.where = f"in {archive.path}"
        self._archive = archive

    async def ranges(self, wanted: Wanted, *, since_ms: int | None = None) -> list[Range]:  # noqa: ARG002 - a file is read as a whole
        """List what there is of the topics that are wanted."""
        return [found for found in self._archive.header.ranges if wanted(found.topic)]

    async def records(self, ranges: Sequence[Range]) -> AsyncGenerator[ConsumerRecord]:
        """Deliver the records of ranges."""
        places = {found.place for found in ranges}
        for record in self._archive:
            if (record.topic, record.partition) in places:
                yield record


@dataclass
class RunRecords:
    """What was found of a run.

    `strange` are facts under its key that cannot be read, with the reasons; their records are among
    the others all the same. `ranges` are what was looked through.
    """

    run_id: str
    view: RunView
    records: list[ConsumerRecord] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    strange: list[str] = field(default_factory=list)
    end_unread: bool = False  # one of those is the run's end
    reacts: bool = False

    @property
    def names(self) -> set[str]:
        """Name what its records are known by: the run, its steps and their agents."""
        run = self.view.run
        return {self.run_id, *self.agents, *(run.steps if run else ()), *self.view.traces}

    @property
    def span_ms(self) -> tuple[int, int]:
        """Say when its first and its latest fact were written."""
        first, last = self.view.first, self.view.last
        return first.timestamp_ms if first else 0, last.timestamp_ms if last else 0


async def find_run(log: RecordedLog, codec: Codec, run_id: str) -> RunRecords:
    """Find all of a run.

    Raises:
        RunNotFound: the log holds no fact of it.
        ConfigError: its beginning has been deleted, and no later state of it is there.
    """
    found = RunRecords(run_id, RunView(run_id))
    await _facts(log, codec, found)
    if not found.records:
        raise RunNotFound(f"there is no run {run_id!r} {log.where}")
    _insist_on_a_beginning(found)
    for wanted, since_ms in _elsewhere(log.topics, found):
        ranges = await log.ranges(wanted, since_ms=since_ms)
        found.ranges += ranges
        belongs = _Belonging(log.topics, found)
        found.records += [r async for r in log.records(ranges) if belongs(r)]
    await _definitions(log, codec, found)
    return found


async def _facts(log: RecordedLog, codec: Codec, found: RunRecords) -> None:
    ranges = await log.ranges(lambda topic: topic == log.topics.events)
    key = run_key(found.run_id)
    places = set()
    async for record in log.records(ranges):
        if record.key != key:
            continue
        places.add((record.topic, record.partition))
        found.records.append(record)
        try:
            received = await codec.decode(record)
        except StarlingsError as error:
            found.strange.append(str(error))
            found.end_unread |= named_type(record) in _ENDS
            continue
        if received is not None and getattr(received.message, "run_id", None) == found.run_id:
            found.view.add(received)
            found.reacts |= isinstance(received.message, EventHandled)
            agent = getattr(received.message, "agent", None)
            found.agents |= {agent} if isinstance(agent, str) else set()
    run = found.view.run
    found.agents |= {step.spec.agent for step in run.order} if run else set()
    found.ranges = [asked for asked in ranges if asked.place in places]


def _insist_on_a_beginning(found: RunRecords) -> None:
    view = found.view
    if view.run is not None or view.rejected is not None or view.chain.events:
        return
    cut = next((asked for asked in found.ranges if asked.is_cut), None)
    if cut is not None:
        raise ConfigError(
            f"the beginning of run {found.run_id} has been deleted: {cut.topic}/{cut.partition} "
            f"begins at offset {cut.begin} now; where it was exported before, name the file "
            "with --from"
        )


def _elsewhere(topics: Topics, found: RunRecords) -> list[tuple[Wanted, int]]:
    """List which other topics to look through, and since when."""
    began_ms = max(found.span_ms[0] - CLOCKS_DIFFER_MS, 0)
    checkpoints = topics.checkpoints("")

    def of_agents(topic: str) -> bool:
        if topic.startswith(checkpoints):
            name = topic[len(checkpoints) :]
        else:
            name = topics.agent_of(topic) or ""
        return name.split(".", 1)[0] in found.agents

    def of_events(topic: str) -> bool:
        return topic == topics.dead_letters or (
            found.reacts and topic.startswith(f"{topics.prefix}{_FACTS}")
        )

    return [
        (lambda topic: topic == topics.requests, max(began_ms - WAITED_MS, 0)),
        (of_agents, began_ms),
        (of_events, began_ms),
    ]


class _Belonging:
    """Tells which records of other topics belong to a run."""

    def __init__(self, topics: Topics, found: RunRecords) -> None:
        self._topics = topics
        self._run_id = found.run_id
        self._key = run_key(found.run_id)
        self._letters: set[bytes] = set()

    def __call__(self, record: ConsumerRecord) -> bool:
        key = record.key or b""
        if record.topic == self._topics.dead_letters:
            return self._is_letter(record, key)
        if record.topic == self._topics.requests and not key:
            return run_id_at(record.topic, record.partition, record.offset) == self._run_id
        return key == self._key or key.startswith(self._key + b"/")

    def _is_letter(self, record: ConsumerRecord, key: bytes) -> bool:
        if key in self._letters:  # what somebody decided about it
            return True
        headers: Headers = list(record.headers)
        subject = header(original_headers(headers), "ce_subject")
        lay_under = header(headers, KEY) or ""
        if self._run_id in (subject, lay_under, lay_under.partition("/")[0]):
            self._letters.add(key)
            return True
        return False


async def _definitions(log: RecordedLog, codec: Codec, found: RunRecords) -> None:
    """Take the latest definition of each of its agents along."""
    ranges = await log.ranges(lambda topic: topic == log.topics.agents)
    latest: dict[bytes, ConsumerRecord] = {}
    keys: Collection[bytes] = {agent.encode() for agent in found.agents}
    async for record in log.records(ranges):
        if record.key in keys and record.value is not None:
            latest[record.key] = record
    for record in latest.values():
        try:
            received = await codec.decode(record)
        except StarlingsError as error:
            found.strange.append(str(error))
            continue
        if received is not None and isinstance(received.message, AgentDefined):
            found.records.append(record)
    found.ranges += ranges
