"""What a commit says: how far the log was read, and from where a successor must read it."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from aiokafka import OffsetAndMetadata, TopicPartition

from starlings.kafka.restore_point import read_metadata

log = structlog.get_logger()


class Start(NamedTuple):
    """Where a partition's reader begins.

    What lies before `handled` has been reported where it could not be read.
    """

    restore_from: int
    handled: int


def starting_point(
    place: TopicPartition, committed: OffsetAndMetadata | None, begin: int, end: int
) -> Start:
    """Say where to begin, from a commit that may be missing, foreign, or not of this log."""
    if committed is None:
        return Start(begin, begin)
    where = {"topic": place.topic, "partition": place.partition}
    if committed.offset > end:
        log.error(
            "the commit lies beyond the end of the log, reading all; was the topic made anew?",
            committed=committed.offset,
            end=end,
            **where,
        )
        return Start(begin, begin)
    restore_from = read_metadata(committed.metadata)
    if restore_from is None:
        log.warning("no restore_from in the commit, reading all", **where)
        return Start(begin, committed.offset)
    if restore_from < begin:
        log.error(
            "retention has deleted facts that open runs need; raise retention.ms of the topic",
            restore_from=restore_from,
            begin=begin,
            **where,
        )
    return Start(max(begin, min(restore_from, committed.offset)), committed.offset)
