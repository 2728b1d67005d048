"""What a service shows of a consumer: whether its loop turns, and what it has done."""

from __future__ import annotations

from typing import Any

from starlings.kafka.parallel import ParallelConsumer

from .metrics import Metric
from .run import ServiceContext


def show_consumer(
    ctx: ServiceContext[Any], name: str, consumer: ParallelConsumer, **labels: str
) -> None:
    """Have a consumer's loop watched under a name, and its numbers shown under labels."""
    counters = consumer.counters
    ctx.heartbeat.follow(name, lambda: consumer.last_loop_monotonic)
    pull = ctx.metrics.pull
    pull(Metric.MESSAGES_HANDLED, lambda: counters.handled, **labels)
    pull(Metric.REPEATS_DROPPED, lambda: counters.repeats, **labels)
    pull(Metric.RUNNING, lambda: consumer.running, **labels)
    pull(Metric.REBALANCES, lambda: counters.rebalances, **labels)
    pull(Metric.COMMIT_FAILURES, lambda: counters.commit_failures, **labels)
    pull(Metric.CONSUMERS_REBUILT, lambda: counters.rebuilt, **labels)
