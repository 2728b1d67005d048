"""What an audit has to go by: the log as it lies on Kafka, the agents' journal, and the blows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord

from starlings.agents.own_claims import CLAIM_AFTER_S
from starlings.blobs import BlobStore
from starlings.kafka.codec import Codec
from starlings.messages import (
    Message,
    RunDone,
    RunRequested,
    StarlingsError,
    StepDone,
    StepReady,
    header,
)
from support.asking import records_in
from support.services import Services

from .agent import JOURNAL
from .workload import AGENTS, Asked


class Row(NamedTuple):
    """A record as it lies on Kafka."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    id: str
    value: bytes
    message: Any  # None where it cannot be read, or is none of ours

    @property
    def place(self) -> str:
        """Where it lies."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def run_id(self) -> str:
        """The run that it is about."""
        return getattr(self.message, "run_id", None) or ""


class Execution(NamedTuple):
    """One time that an agent did something, from its journal."""

    run_id: str
    step_id: str
    attempt: int
    key: str
    pid: int
    began_s: float
    ended_s: float | None = None
    end: str | None = None  # did, undid, stumbled, failed, ceased; None: it was cut off
    undoes: bool = False

    @property
    def what(self) -> tuple[str, str, int]:
        """Which attempt of which step it was."""
        return self.run_id, self.step_id, self.attempt


@dataclass
class Blow:
    """Something that was done to the system, on the clock of the agents' journal."""

    kind: str  # the verb of the schedule
    victim: str
    at_s: float
    at_ms: int
    until_s: float = 0.0  # until it was over: thawed, back, ready
    pid: int | None = None
    probes: tuple[str, ...] = ()  # runs that were asked for at that moment

    def overlaps(self, start_s: float, end_s: float) -> bool:
        """Say whether it happened within a span of time, or lasted into it."""
        return self.at_s <= end_s and start_s <= max(self.at_s, self.until_s)


@dataclass
class Evidence:
    """All that is known of one scenario, after it."""

    asked: dict[str, Asked]
    requests: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    control: list[Row] = field(default_factory=list)
    dead_letters: list[Row] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    exit_codes: dict[str, int] = field(default_factory=dict)
    #: Steps at work for longer are claimed, and not begun a second time because others come or go.
    claimed_after_s: float | None = 2 * CLAIM_AFTER_S

    def of(self, kind: type[Message]) -> list[Row]:
        """List the facts of one kind."""
        return [row for row in self.events if isinstance(row.message, kind)]

    def ends(self) -> dict[str, list[Row]]:
        """List the ends of each run."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.of(RunDone):
            found[row.run_id].append(row)
        return found

    def releases(self) -> dict[tuple[str, str, int], list[Row]]:
        """List the work that was handed out, by attempt."""
        return _by_attempt(row for row in self.steps if isinstance(row.message, StepReady))

    def results(self) -> dict[tuple[str, str, int], list[Row]]:
        """List the results that were reported, by attempt."""
        return _by_attempt(self.of(StepDone))

    def dump(self, file: Path) -> None:
        """Write the log down, a line for each record, for whoever looks for the reason."""
        with file.open("w", encoding="utf-8") as out:
            for row in sorted(self._rows(), key=lambda row: row.at_ms):
                value = row.value.decode(errors="replace")
                out.write(json.dumps([row.place, row.at_ms, row.id, value]) + "\n")

    def _rows(self) -> list[Row]:
        return [*self.requests, *self.events, *self.steps, *self.control, *self.dead_letters]


def _by_attempt(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    found: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.run_id, row.message.step_id, row.message.attempt].append(row)
    return found


async def read_log(services: Services, evidence: Evidence) -> None:
    """Read every topic from its beginning to its end."""
    topics = services.topics
    codec = Codec(source="chaos", blobs=BlobStore(services.blobs_url))
    for topic, rows in (
        ([topics.requests], evidence.requests),
        ([topics.events], evidence.events),
        ([topics.steps(agent) for agent in AGENTS], evidence.steps),
        ([topics.control], evidence.control),
        ([topics.dead_letters], evidence.dead_letters),
    ):
        default = RunRequested if topic == [topics.requests] else None
        for record in await records_in(services, topic):
            rows.append(await _row(codec, record, default, buried=rows is evidence.dead_letters))


async def _row(
    codec: Codec, record: ConsumerRecord, default: type[Message] | None, *, buried: bool
) -> Row:
    message = None
    try:
        received = None if buried else await codec.decode(record, default=default)
        message = received.message if received else None
    except StarlingsError:  # the audit says what it misses
        pass
    return Row(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        header(record.headers, "ce_id") or "",
        record.value or b"",
        message,
    )


def read_journal(folder: Path) -> list[Execution]:
    """Read what the agents have done, in the order in which they began."""
    file = folder / JOURNAL
    return executions(file.read_text(encoding="utf-8").splitlines() if file.exists() else [])


def executions(lines: Iterable[str | bytes]) -> list[Execution]:
    """Put the lines of a journal together, which need not stand in their order."""
    begun: dict[str, Execution] = {}
    parsed = (json.loads(line) for line in lines)
    for told in sorted(parsed, key=lambda told: (told["at_s"], told["what"] != "began")):
        name, what, at_s = told.pop("execution"), told.pop("what"), told.pop("at_s")
        if what == "began":
            begun[name] = Execution(**told, began_s=at_s)
        else:
            begun[name] = begun[name]._replace(ended_s=at_s, end=what)
    return sorted(begun.values(), key=lambda execution: execution.began_s)
