"""Folding recorded runs again, and holding what was published against what the core owes.

Every record of `events` is folded by the core, as a coordinator does; before a record of a
coordinator is folded, it is held against what was owed then. What "the same" means:

- *Nothing that was not owed.* Whatever a coordinator published must have been decided by the facts
  before it: its id, and all of its content. `timer_fired` must be of a timer that was set to that
  time. It may be late, and it may be there twice: publishing is at least once.
- *All that was owed.* What is decided and neither published nor overtaken by later facts is
  missing, also a timer whose time has passed. What was decided within the last `tail_ms` of the
  log is in flight, and may be missing. What belongs on other topics than `events` is confirmed
  there, and need not be confirmed once its step has begun, or its run has ended.
- *Nothing was done that was not decided*: a result whose cause is a `step_ready` that is not owed
  shows that another decision was published, and not confirmed.
- *By the same means.* A message of an older version that lacks fields of today is no difference
  (`comparing.py`); a coordinator that restarts may build a message later, from the state then
  (`owing.py`); in place of an amendment that names unknown agents stands its rejection.
- History wins: a run is reported with its first difference, and not judged after it.

What cannot be judged is said, and is no difference: a run whose beginning is not there and that no
snapshot carried forward, or one that differs after a stretch of the log that is missing, or after a
fact that this version cannot read. Records that stand there twice count once; what is not ours, or
is under an id that no coordinator gives, is counted and passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiokafka import TopicPartition

from starlings.kafka.codec import Codec
from starlings.messages import Topics

from .decoding import FactReader
from .findings import Findings
from .partition_check import PartitionCheck
from .released import Released
from .source import Source

TAIL_MS = 60_000
NOTHING = "nothing of it is in what was read"


async def verify(
    events: Source,
    *,
    topics: Topics,
    codec: Codec,
    runs: Collection[str] | None = None,
    tail_ms: int = TAIL_MS,
    steps: Callable[[], Source] | None = None,
    chosen: bool = False,
) -> Findings:
    """Verify what a source holds of `events`.

    Args:
        events: records, those of each partition in their order; other topics are passed over.
        topics: names them.
        codec: reads values, also those that lie in the blob store.
        runs: by name; None: all.
        tail_ms: what was decided in so much time before the last record may be in flight.
        steps: opens the records of agents' topics, where works are to be compared as well.
        chosen: whether they were chosen by their runs: what is missing between them was of others.
    """
    findings = Findings(asked=frozenset(runs or ()))
    released = None
    if steps is not None:
        released = Released(findings, FactReader(codec))
        async for record in steps().records():
            released.add(record)
    starts = {found.place: found.first for found in events.ranges}
    checks: dict[int, PartitionCheck] = {}  # by partition
    async for record in events.records():
        if record.topic != topics.events:
            continue
        check = checks.get(record.partition)
        if check is None:
            place = TopicPartition(record.topic, record.partition)
            check = checks[record.partition] = PartitionCheck(
                place,
                findings,
                codec=codec,
                start=starts.get(place, record.offset),
                tail_ms=tail_ms,
                only=runs,
                released=released,
                chosen=chosen,
            )
        await check.read(record)
    for check in checks.values():
        check.finish()
    for run_id in findings.asked - findings.named - findings.unjudged.keys():
        findings.unjudged[run_id] = NOTHING
    if released is not None and steps is not None:
        await _look_again(released, steps)
    return findings


async def _look_again(released: Released, steps: Callable[[], Source]) -> None:
    if released.is_suspicious:
        async for record in steps().records():
            await released.look_again(record)
