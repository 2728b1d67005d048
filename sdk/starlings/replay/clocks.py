"""How far the clocks of instances are from those of the brokers.

A message says when its instance wrote it; the broker stamps when it arrived (LogAppendTime). What
lies between is the way, which only takes time, and the difference of the clocks: so of several
messages the one that was quickest says most. A clock that is ahead shows at once; one that is
behind looks like a slow way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from aiokafka import ConsumerRecord

from starlings.kafka.connection import Connection
from starlings.messages import Topics, header

from .ranges import ranges_of
from .reading import LogReader

LAST = 500  # records of each partition
LATELY_MS = 600_000
_OURS = "starlings/"
_PARTS = 3  # starlings/<service>/<instance>


async def clock_leads(connection: Connection, topics: Topics) -> Mapping[str, int]:
    """Tell by how many milliseconds the clock of each instance is ahead of the brokers'.

    Instances are named `service/instance`; those that have written nothing lately are left out.

    Raises:
        ConfigError: the log may not be read.
        TransientError, KafkaError: Kafka is away.
    """
    found = await ranges_of(connection, [topics.events, topics.agents])
    last = [r.model_copy(update={"first": max(r.first, r.end - LAST)}) for r in found]
    seen: list[tuple[str, int, int]] = []
    async for record in LogReader(connection, last).records():
        sample = lead_of(record)
        if sample is not None:
            seen.append((*sample, record.timestamp))
    newest = max((at_ms for *_, at_ms in seen), default=0)
    leads: dict[str, int] = {}
    for source, lead_ms, at_ms in seen:
        if newest - at_ms <= LATELY_MS:
            leads[source] = max(lead_ms, leads.get(source, lead_ms))
    return leads


def lead_of(record: ConsumerRecord) -> tuple[str, int] | None:
    """Say who wrote a record, and how much later than it arrived; None where it does not tell."""
    source = header(record.headers, "ce_source") or ""
    written = header(record.headers, "ce_time") or ""
    if not source.startswith(_OURS) or len(source.split("/", 2)) < _PARTS:
        return None
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    return source.removeprefix(_OURS), round(at.timestamp() * 1000) - int(record.timestamp)
