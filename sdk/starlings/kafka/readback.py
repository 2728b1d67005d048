"""What a partition must know before its first record is started.

Two memories are brought back after an assignment: what the group has done (from the commit and its
metadata), and which message ids lie before that point (from the log itself: a repeat lies in the
partition of the first). Both through clients of their own, so that they meet the brokers anew and
hold up nobody else's fetching.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from .connection import Connection
from .offsets import Done, ForeignMetadata, decode, merge
from .partition import id_of
from .recent_ids import RecentIds, Window
from .starting import start_client

log = structlog.get_logger(__name__)

_BATCH = 2_000
_POLL_MS = 500
_STALLED_S = 30.0  # without a single batch

Seen = tuple[bytes, int, int]  # id, offset, timestamp


@dataclass(frozen=True, slots=True)
class Ends:
    """First offset of a partition, and the one after its last."""

    begin: int
    end: int


async def committed(
    connection: Connection, group_id: str, tps: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Fetch commits with their metadata, which a consumer's own `committed()` drops."""
    return await connection.committed(group_id, list(tps)) if tps else {}


async def ends_of(
    connection: Connection, tps: Collection[TopicPartition]
) -> dict[TopicPartition, Ends]:
    """Ask the brokers, met anew, where partitions begin and end."""
    reader = connection.consumer()
    try:
        await start_client(reader)
        begins = await reader.beginning_offsets(list(tps))
        ends = await reader.end_offsets(list(tps))
    finally:
        await reader.stop()
    return {tp: Ends(begins[tp], ends[tp]) for tp in tps}


def starting_point(tp: TopicPartition, commit: OffsetAndMetadata | None, ends: Ends) -> Done:
    """Say what is done, from a commit that may be missing, foreign, or older than the log."""
    where = {"topic": tp.topic, "partition": tp.partition}
    if commit is None:
        return Done(ends.begin)
    if commit.offset > ends.end:
        log.warning(
            "the commit lies beyond the end of the log, starting at its beginning",
            committed=commit.offset,
            end=ends.end,
            **where,
        )
        return Done(ends.begin)
    if commit.offset < ends.begin:
        log.warning(
            "records were deleted before they were handled, starting at the earliest left;"
            " raise the topic's retention",
            committed=commit.offset,
            begin=ends.begin,
            **where,
        )
    try:
        done = decode(commit.offset, commit.metadata)
    except ForeignMetadata as error:
        log.warning("the commit's metadata are not ours, they are ignored", why=str(error), **where)
        done = Done(commit.offset)
    return merge(done, Done(ends.begin))


async def read_back(
    connection: Connection, tp: TopicPartition, *, begin: int, low: int, window: Window
) -> RecentIds:
    """Remember the ids of the window that ends before `low`."""
    near = max(begin, low - window.at_least)
    if near >= low:
        return RecentIds(window, end=low)
    reader = connection.consumer()
    try:
        reader.assign([tp])
        await start_client(reader)
        seen = await _ids_between(reader, tp, start=near, end=low)
        far = await _far_start(reader, tp, seen, begin=begin, low=low, window=window)
        if far is not None and far < near:
            seen = [*await _ids_between(reader, tp, start=far, end=near), *seen]
    finally:
        await reader.stop()
    ids = RecentIds(window)
    for message_id, offset, timestamp_ms in seen:
        ids.repeated(message_id, offset, timestamp_ms)
    ids.end = low
    return ids


async def _far_start(
    reader: AIOKafkaConsumer,
    tp: TopicPartition,
    seen: list[Seen],
    *,
    begin: int,
    low: int,
    window: Window,
) -> int | None:
    if not seen:
        return None
    oldest_ms = int(max(0, seen[-1][2] - window.window_s * 1_000))
    if seen[0][2] < oldest_ms:
        return None
    found = (await reader.offsets_for_times({tp: oldest_ms}))[tp]
    return None if found is None else max(begin, low - window.at_most, found.offset)


async def _ids_between(
    reader: AIOKafkaConsumer, tp: TopicPartition, *, start: int, end: int
) -> list[Seen]:
    seen: list[Seen] = []
    reader.seek(tp, start)
    loop = asyncio.get_running_loop()
    alive = loop.time()
    while await reader.position(tp) < end:
        batches = await reader.getmany(tp, timeout_ms=_POLL_MS, max_records=_BATCH)
        seen.extend(
            (id_of(record), record.offset, record.timestamp)
            for record in batches.get(tp, ())
            if record.offset < end
        )
        if batches:
            alive = loop.time()
            await asyncio.sleep(0)  # a long window must not starve the handlers
        elif loop.time() - alive > _STALLED_S:
            raise TimeoutError(f"reading back {tp.topic}/{tp.partition} stalled before {end}")
    return seen
