"""The coordinator is disposable: the state of open runs, come by in three ways, is one state.

For each partition of `events`, as of one offset: what a reader gets (1) from the start of the log,
and (2) from `restore_from`, where the coordinator's successor would begin; and (3) the hash that
the coordinator at work has reported in the metadata of its commits. Only runs that are open count:
what is kept of ended ones differs lawfully, by how far back one has read.

What cannot be judged is said, and is no difference: there is no report yet, or one of another log
or version; retention has deleted what open runs need; a value can be read no more; the coordinator
has set runs aside for a reason that is not in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka import OffsetAndMetadata, TopicPartition

from starlings.choreography import CarryPolicy, Run
from starlings.choreography.snapshot import STATE_VERSION
from starlings.choreography.state_hash import (
    StateHash,
    canonical_state,
    hash_of,
    is_in_slice,
    is_too_long,
    run_hash,
    slice_hash,
    written,
)
from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.restore_point import StateReport, read_metadata, read_report
from starlings.messages import ConfigError, Topics

from .fresh_reader import FreshReader
from .ranges import Range, ranges_of
from .source import KafkaSource, Source

NO_REPORT = (
    "the coordinator has reported no state yet: is one at work, and STARLINGS_STATE_REPORT_S not 0?"
)


class Way(NamedTuple):
    """What one reader got: from where it read, how much, and the hash of its open runs."""

    start: int
    records: int
    found: StateHash


class RunDiffers(NamedTuple):
    """A run that the two readers know differently, first at `path`; None: not at all."""

    run_id: str
    path: str
    from_start: Any
    from_restore: Any


@dataclass
class Rebuilt:
    """What came of one partition, as of the offset `at`."""

    place: TopicPartition
    at: int
    from_start: Way
    from_restore: Way
    report: StateReport | None = None
    runs: list[RunDiffers] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)  # of the report
    in_slice: list[str] = field(default_factory=list)  # the open runs that it speaks of
    left_out: list[str] = field(default_factory=list)  # those of them that are too long for it
    unjudged: list[str] = field(default_factory=list)

    @property
    def are_same(self) -> bool:
        """Tell whether no difference was found."""
        return not self.runs and not self.differences


async def rebuilt(
    connection: Connection, codec: Codec, topics: Topics, *, partition: int | None = None
) -> list[Rebuilt]:
    """Compare the three ways for all partitions, or for one.

    Raises:
        ConfigError: there is no such partition, or something may not be seen.
        KafkaError, TransientError: Kafka is away.
    """
    known = sorted(await connection.partitions(topics.events))
    if partition is not None and partition not in known:
        raise ConfigError(f"{topics.events} has no partition {partition}: it has 0 to {known[-1]}")
    chosen = known if partition is None else [partition]
    places = [TopicPartition(topics.events, number) for number in chosen]
    commits = await connection.committed(topics.coordinator_group, places)  # before the ends
    ranges = await ranges_of(connection, [topics.events], partitions={topics.events: chosen})
    return [
        await compare(
            found,
            commits.get(found.place),
            codec=codec,
            source=lambda stretch: KafkaSource(connection, [stretch]),
        )
        for found in sorted(ranges, key=lambda each: each.partition)
    ]


async def compare(
    found: Range,
    commit: OffsetAndMetadata | None,
    *,
    codec: Codec,
    source: Callable[[Range], Source],
) -> Rebuilt:
    """Compare the three ways for a partition of which the log has `found`."""
    return await _Rebuilding(found, commit, codec).compare(source)


class _Rebuilding:
    """One partition, and what is committed of it."""

    def __init__(self, found: Range, commit: OffsetAndMetadata | None, codec: Codec) -> None:
        self._range = found
        self._codec = codec
        self._unjudged: list[str] = []
        self._report = self._usable(read_report(commit.metadata) if commit else None)
        self._at = found.end if self._report is None else self._report.at
        asked = read_metadata(commit.metadata) if commit else None
        if self._report is not None:
            asked = self._report.restore_from
        self._restore_from = found.begin if asked is None else min(asked, self._at)

    def _usable(self, report: StateReport | None) -> StateReport | None:
        """Give a report back that can be held against this log."""
        begin, end = self._range.begin, self._range.end
        why = ""
        if report is None:
            why = NO_REPORT if end else ""
        elif report.at > end:
            why = f"the report is of offset {report.at}, the log ends at {end}: was it made anew?"
        elif report.at < begin:
            why = f"the report is of offset {report.at}, the log begins at {begin} by now"
        elif report.state_version != STATE_VERSION:
            why = (
                f"the coordinator writes states in version {report.state_version}, this is "
                f"{STATE_VERSION}: compare with its own version"
            )
        if why:
            self._unjudged.append(why)
        return None if why else report

    @property
    def _lost(self) -> str:
        """Say what is gone that a successor would read; open runs may need it, or nobody."""
        begin = self._range.begin
        if self._restore_from >= begin:
            return ""
        return f"retention has deleted offsets {self._restore_from} to {begin - 1}"

    async def compare(self, source: Callable[[Range], Source]) -> Rebuilt:
        """Read the log up to the offset, as often as needed, and compare."""
        begin = self._range.begin
        stretch = self._range.model_copy(update={"first": begin, "end": self._at})
        first, second = self._reader(begin), self._reader(max(begin, self._restore_from))
        reading = [first, second]
        while reading:
            async for record in source(stretch).records():
                for reader in reading:
                    await reader.read(record)
            reading = [reader for reader in reading if not reader.has_ended()]
        return self._judged(first, second)

    def _reader(self, start: int) -> FreshReader:
        report, policy = self._report, CarryPolicy()
        if report is not None:
            policy = CarryPolicy(
                look_back_records=report.look_back_records,
                look_back_ms=report.look_back_ms,
                carry_after_records=report.carry_after_records,
            )
        return FreshReader(start, codec=self._codec, policy=policy, is_whole=start == 0)

    # -- judging -------------------------------------------------------------------------------

    def _judged(self, first: FreshReader, second: FreshReader) -> Rebuilt:
        readers = (first, second)
        known = [{name: run_hash(r) for name, r in each.ledger.runs.items()} for each in readers]
        made = Rebuilt(
            self._range.place,
            self._at,
            from_start=Way(first.start, first.records, hash_of(known[0].values())),
            from_restore=Way(second.start, second.records, hash_of(known[1].values())),
            report=self._report,
            unjudged=self._unjudged,
        )
        for name in sorted(known[0].keys() | known[1].keys()):
            if known[0].get(name) != known[1].get(name):
                _judge_run(made, name, readers)
        if self._report is not None:
            self._judge_report(made, self._report, readers)
        if self._lost and (self._report is None or self._report.slices > 1):
            made.unjudged.append(f"{self._lost}: runs that are open since may be missing")
        return made

    def _judge_report(
        self, made: Rebuilt, report: StateReport, readers: Sequence[FreshReader]
    ) -> None:
        chosen = [
            run
            for run in readers[0].ledger.runs.values()
            if is_in_slice(run.run_id, report.slice, report.slices)
        ]
        made.in_slice = sorted(run.run_id for run in chosen)
        made.left_out = sorted(run.run_id for run in chosen if is_too_long(run))
        told = StateHash(report.hash, report.runs, report.left_out)
        for reader in readers:
            found = slice_hash(reader.ledger.runs.values(), report.slice, report.slices)
            if found == told:
                continue
            why = self._why_not_judged(report, readers)
            if why:
                made.unjudged.append(f"the coordinator reports another state, and {why}")
                return
            made.differences.append(
                f"the coordinator reports {_said(told)}; who reads from offset {reader.start} on "
                f"gets {_said(found)}"
            )

    def _why_not_judged(self, report: StateReport, readers: Sequence[FreshReader]) -> str:
        """Say what else than an error may be behind a difference of the report."""
        parked = report.parked - max(len(reader.ledger.parked) for reader in readers)
        if parked > 0:
            runs = "a run" if parked == 1 else f"{parked} runs"
            return f"has set {runs} aside for a reason that is not in the log; its own log tells it"
        doubts = [
            f"run {name}: {why}"
            for reader in readers
            for name, why in (reader.of_others | reader.doubts).items()
            if is_in_slice(name, report.slice, report.slices)
        ]
        return doubts[0] if doubts else self._lost


def _judge_run(made: Rebuilt, name: str, readers: Sequence[FreshReader]) -> None:
    doubt = next((each.doubts[name] for each in readers if name in each.doubts), None)
    if doubt is not None:
        made.unjudged.append(f"run {name}: {doubt}")
        return
    one, two = (_whole(reader.ledger.runs.get(name)) for reader in readers)
    made.runs.append(RunDiffers(name, *first_difference(one, two)))


def _whole(run: Run | None) -> dict[str, Any] | None:
    return None if run is None else {"plan_offset": run.plan_offset, **canonical_state(run)}


def _said(found: StateHash) -> str:
    runs = f"{found.runs:,} run" if found.runs == 1 else f"{found.runs:,} runs"
    return f"{found.value} of {runs}"


def first_difference(one: Any, two: Any, path: str = "") -> tuple[str, Any, Any]:
    """Find the first place where two JSON values that differ do so."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        pairs = [(f"{path}.{key}" if path else key, one[key], two[key]) for key in one]
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        pairs = [(f"{path}[{n}]", *both) for n, both in enumerate(zip(one, two, strict=True))]
    else:
        return path, one, two
    for inner, ours, theirs in pairs:
        if written(ours) != written(theirs):
            return first_difference(ours, theirs, inner)
    return path, one, two
