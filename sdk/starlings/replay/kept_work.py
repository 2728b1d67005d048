"""What an agent's checkpoints say of pieces of work: which have ended, which wait as a job.

A plain reading for whoever looks from outside: nothing is claimed, cleared or put aside. An end
that is remembered there would keep a rewound step from being done again, so whoever rewinds takes
it back by a checkpoint that holds nothing: that of work which was handed back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from starlings.kafka.connection import Connection
from starlings.kafka.publisher import Publisher
from starlings.messages import AttemptCheckpoint, split_key

from .ranges import ranges_of
from .reading import LogReader

AT_ONCE = 200

Work = tuple[int, str]  # partition, name


@dataclass(slots=True)
class KeptWork:
    """What is kept of the work of some partitions."""

    ended: set[Work] = field(default_factory=set)
    jobs: set[Work] = field(default_factory=set)  # begun, and looked after until they end
    calls: set[Work] = field(default_factory=set)  # answers are kept: they are not asked for again

    def take(self, partition: int, key: str, value: bytes | None) -> None:
        """Take a record, in the order of the log."""
        work, call = split_key(key)
        if call is not None:
            (self.calls.discard if value is None else self.calls.add)((partition, work))
        elif value is None:
            self.ended.add((partition, work))
            self.jobs.discard((partition, work))
        else:
            self.ended.discard((partition, work))
            is_job = _holds_job(value)
            (self.jobs.add if is_job else self.jobs.discard)((partition, work))


def _holds_job(value: bytes) -> bool:
    try:
        read = json.loads(value)
    except ValueError:
        return False
    return isinstance(read, dict) and read.get("job") is not None


async def read_kept_work(
    connection: Connection, topic: str, partitions: Collection[int]
) -> KeptWork:
    """Read the checkpoints of some partitions; nothing, where there is no such topic."""
    kept = KeptWork()
    if topic not in await connection.topic_names():
        return kept
    ranges = await ranges_of(connection, [topic], partitions={topic: partitions})
    async for record in LogReader(connection, ranges).records():
        key = (record.key or b"").decode(errors="replace")
        kept.take(record.partition, key, record.value)
    return kept


async def take_ends_back(
    publisher: Publisher, topic: str, works: Iterable[tuple[int, str, int]]
) -> None:
    """Say of work (partition, name, offset of its record) that it was handed back: it may run."""

    async def one(partition: int, work: str, offset: int) -> None:
        checkpoint = AttemptCheckpoint(work=work, offset=offset)
        value, headers = await publisher.codec.encode(
            checkpoint, id=f"{checkpoint.key}/{checkpoint.NAME}", subject=work.partition("/")[0]
        )
        await publisher.forward(
            topic, checkpoint.key.encode(), value, headers=headers, partition=partition
        )

    left = list(works)
    for at in range(0, len(left), AT_ONCE):
        await asyncio.gather(*(one(*each) for each in left[at : at + AT_ONCE]))
