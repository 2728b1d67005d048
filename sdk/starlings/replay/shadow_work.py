"""Real work of a window, and what came of it: what a candidate is given, and measured by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.messages import (
    ConfigError,
    StarlingsError,
    StepDone,
    StepReady,
    Topics,
    header,
)

from .ranges import Range, ranges_of
from .reading import LogReader

MOST = 50_000  # steps: their results are held
SKEW_MS = 60_000  # between the clocks of those who produce and of the brokers
STEP = f"/{StepReady.NAME}"

Place = tuple[int, int]  # partition, offset


@dataclass(slots=True)
class Work:
    """The steps of a window, by where they lie, and their results."""

    ranges: list[Range]
    steps: dict[Place, str] = field(default_factory=dict)  # place → run/step/attempt
    results: dict[str, ConsumerRecord] = field(default_factory=dict)  # by run/step/attempt

    @property
    def cut(self) -> list[Range]:
        """List the partitions whose part of the window has begun before what is left of them."""
        return [each for each in self.ranges if each.is_cut]


async def steps_topic(connection: Connection, topics: Topics, agent: str) -> str:
    """Find the topic of an agent's steps.

    Raises:
        ConfigError: there is no such agent; it names those that there are.
    """
    names = await connection.topic_names()
    if topics.steps(agent) in names:
        return topics.steps(agent)
    served = sorted(found for name in names if (found := topics.agent_of(name)))
    raise ConfigError(
        f"there is no agent {agent!r}: it has no topic {topics.steps(agent)}; agents with one: "
        + (", ".join(served) or "none")
    )


async def work_of_window(
    connection: Connection,
    topics: Topics,
    agent: str,
    *,
    since_ms: int | None,
    until_ms: int | None,
    runs: Collection[str] = (),
) -> Work:
    """Collect the steps of a window with what is in the log of their results.

    Of a step that was published twice the first record counts. Compensations are left out.

    Raises:
        ConfigError: no such agent, no step in the window, or too many.
    """
    topic = await steps_topic(connection, topics, agent)
    work = Work(await ranges_of(connection, [topic], since_ms=since_ms, until_ms=until_ms))
    seen: set[str] = set()
    oldest_ms = 0
    async with aclosing(LogReader(connection, work.ranges).records()) as records:
        async for record in records:
            ident = header(record.headers, "ce_id") or ""
            name = ident.removesuffix(STEP)
            wanted = not runs or name.partition("/")[0] in runs
            if not ident.endswith(STEP) or name in seen or not wanted:
                continue
            seen.add(name)
            work.steps[record.partition, record.offset] = name
            oldest_ms = min(oldest_ms or record.timestamp, record.timestamp)
            if len(work.steps) > MOST:
                raise ConfigError(
                    f"over {MOST:,} steps of {agent} in this window; take a narrower one by "
                    "--since and --until, or name runs with --run"
                )
    if not work.steps:
        raise ConfigError(_nothing(agent, work, runs))
    await _find_results(connection, topics, work, oldest_ms - SKEW_MS)
    return work


def _nothing(agent: str, work: Work, runs: Collection[str]) -> str:
    of = f" of the runs {', '.join(sorted(runs))}" if runs else ""
    gone = sum(each.begin for each in work.cut)
    lost = f"; retention has deleted {gone:,} older records of the topic" if gone else ""
    return f"no step of {agent}{of} lies in this window{lost}; take a wider one by --since"


async def _find_results(connection: Connection, topics: Topics, work: Work, since_ms: int) -> None:
    wanted = {f"{name}/{StepDone.NAME}": name for name in work.steps.values()}
    ranges = await ranges_of(connection, [topics.events], since_ms=max(since_ms, 0))
    async with aclosing(LogReader(connection, ranges).records()) as records:
        async for record in records:
            name = wanted.get(header(record.headers, "ce_id") or "")
            if name is not None and name not in work.results:  # the first one counts
                work.results[name] = record


async def result_of(work: Work, codec: Codec, name: str) -> StepDone | str | None:
    """Read the result that is in the log of a step; a text says why it cannot be read.

    None: there is none.
    """
    record = work.results.get(name)
    if record is None:
        return None
    try:
        received = await codec.decode(record)
    except StarlingsError as error:
        return str(error)
    message = received.message if received is not None else None
    return message if isinstance(message, StepDone) else "its type is unknown to this version"


def ends_of_window(ranges: Sequence[Range]) -> dict[int, int]:
    """Say where the window ends, by partition."""
    return {each.partition: each.end for each in ranges}
