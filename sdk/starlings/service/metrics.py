"""The numbers that every service shows on `/metrics`, read from the objects that own them.

Nothing is counted twice: a source is a callable that looks at a counter which the runtime keeps
anyway, at the moment Prometheus asks. It is called by another thread, so it must only look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

Source = Callable[[], float]


class _Kind(NamedTuple):
    name: str
    help: str
    family: type[CounterMetricFamily | GaugeMetricFamily]


def _counter(name: str, said: str) -> _Kind:
    return _Kind(f"starlings_{name}_total", said, CounterMetricFamily)


def _gauge(name: str, said: str) -> _Kind:
    return _Kind(f"starlings_{name}", said, GaugeMetricFamily)


class Metric(Enum):
    """What can be shown, by the name that it has there."""

    MESSAGES_HANDLED = _counter("messages_handled", "messages read and handled")
    REPEATS_DROPPED = _counter("repeats_dropped", "messages dropped as repeats by their id")
    DEAD_LETTERS = _counter("dead_letters", "messages put into the dead letters")
    OPEN_DEAD_LETTERS = _gauge("dead_letters_open", "dead letters that wait for a decision")
    PUBLISH_FAILURES = _counter("publish_failures", "messages that Kafka did not take")
    COMMIT_FAILURES = _counter("commit_failures", "positions that Kafka did not take")
    REBALANCES = _counter("rebalances", "times that partitions were given out anew")
    CONSUMERS_REBUILT = _counter("consumers_rebuilt", "consumers made anew after an error")
    RUNNING = _gauge("running", "steps or requests in hand")
    COOLDOWN = _gauge("cooldown_seconds", "how long no step is started still")
    LOOP_AGE = _gauge("loop_age_seconds", "time since the loop's last turn")
    OPEN_RUNS = _gauge("open_runs", "runs that have not ended")
    OWED = _gauge("owed_decisions", "decisions not yet confirmed")
    INFO = _gauge("service_info", "which service and instance this is")


@dataclass(frozen=True, slots=True)
class _Pulled:
    source: Source
    labels: dict[str, str]


class ServiceMetrics:
    """The registry of one service; numbers are pulled from callables."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._pulled: dict[Metric, list[_Pulled]] = {}
        self.registry.register(_Pull(self._pulled))
        ProcessCollector(registry=self.registry)

    def pull(self, metric: Metric, source: Source, **labels: str) -> None:
        """Show what `source` returns, under these labels: the same for all sources of a metric."""
        pulled = self._pulled.setdefault(metric, [])
        if pulled and sorted(pulled[0].labels) != sorted(labels):
            raise ValueError(f"{metric.value.name} has the labels {sorted(pulled[0].labels)}")
        pulled.append(_Pulled(source, labels))


class _Pull(Collector):
    def __init__(self, pulled: dict[Metric, list[_Pulled]]) -> None:
        self._pulled = pulled

    def describe(self) -> list[Family]:
        """Say nothing beforehand, so that no source is asked at registration."""
        return []

    def collect(self) -> Iterator[Family]:
        """Ask every source; one that fails costs its own numbers only."""
        for metric, pulled in list(self._pulled.items()):
            kind = metric.value
            family = kind.family(kind.name, kind.help, labels=sorted(pulled[0].labels))
            for one in list(pulled):
                _add_samples(family, one)
            yield family


def _add_samples(family: CounterMetricFamily | GaugeMetricFamily, pulled: _Pulled) -> None:
    fixed = [pulled.labels[name] for name in sorted(pulled.labels)]
    try:
        found = pulled.source()
    except Exception:
        log.warning("a metric cannot be read", metric=family.name, exc_info=True)
        return
    family.add_metric(fixed, found)
