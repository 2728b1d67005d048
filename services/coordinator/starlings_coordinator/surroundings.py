"""What all partitions of one coordinator share, and what its metrics tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord, TopicPartition

from starlings.choreography import CarryPolicy
from starlings.kafka.codec import Codec
from starlings.telemetry import OFF, Tracer

from .decoding import Bury
from .outbox import Outbox

RecordAt = Callable[[TopicPartition, int], Awaitable[ConsumerRecord | None]]


@dataclass(slots=True)
class Counters:
    """What the metrics tell of a coordinator."""

    facts: int = 0
    ignored: int = 0
    decisions: int = 0
    timers: int = 0
    carried: int = 0
    parked: int = 0
    undecodable: int = 0
    runs_begun: int = 0
    runs_ended: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What all partitions of one coordinator share."""

    codec: Codec
    outbox: Outbox
    bury: Bury
    record_at: RecordAt
    policy: CarryPolicy = field(default_factory=CarryPolicy)
    counters: Counters = field(default_factory=Counters)
    blob_patience_s: float = 120.0
    state_report_s: float = 30.0
    tracer: Tracer = OFF
