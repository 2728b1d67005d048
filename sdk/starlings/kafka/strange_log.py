"""Logs that are not what they were: their owner should hear of it."""

from __future__ import annotations

import structlog
from aiokafka import TopicPartition

from .partition import Intake

log = structlog.get_logger(__name__)

HOLE_TOLD = 100  # offsets in a row without a record that are worth a warning


def tell_of_a_strange_log(tp: TopicPartition, intake: Intake, offset: int) -> None:
    """Warn where what was fetched from `offset` on shows that records are gone."""
    where = {"topic": tp.topic, "partition": tp.partition, "offset": offset}
    if intake.rewound:
        log.warning(
            "the log goes on at a smaller offset than before: it lost records,"
            " or was made anew; all that it holds now is handled",
            **where,
        )
    elif intake.hole > HOLE_TOLD:
        log.warning(
            "offsets without records were passed: deleted before they were handled"
            " (then raise the topic's retention), or compacted",
            offsets=intake.hole,
            **where,
        )
