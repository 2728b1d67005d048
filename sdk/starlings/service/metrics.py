"""The numbers that every service shows on `/metrics`, read from the objects that own them.

Nothing is counted twice: a source is a callable that looks at a counter which the runtime keeps
anyway, at the moment Prometheus asks. It is called by another thread, so it must only look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

Source = Callable[[], float | Mapping[str, float]]


class _Kind(NamedTuple):
    name: str
    help: str
    family: type[CounterMetricFamily | GaugeMetricFamily]


class Metric(Enum):
    """What can be shown; counters end in `_total` as Prometheus wants it."""

    MESSAGES_HANDLED = _Kind(
        "starlings_messages_handled", "messages read and handled", CounterMetricFamily
    )
    REPEATS_DROPPED = _Kind(
        "starlings_repeats_dropped", "messages dropped as repeats by their id", CounterMetricFamily
    )
    DEAD_LETTERS = _Kind(
        "starlings_dead_letters", "messages put into the dead letters", CounterMetricFamily
    )
    OPEN_DEAD_LETTERS = _Kind(
        "starlings_dead_letters_open", "dead letters that wait for a decision", GaugeMetricFamily
    )
    PUBLISH_FAILURES = _Kind(
        "starlings_publish_failures", "messages that Kafka did not take", CounterMetricFamily
    )
    RUNNING = _Kind("starlings_running", "steps or requests in hand", GaugeMetricFamily)
    COOLDOWN = _Kind(
        "starlings_cooldown_seconds", "how long no step is started still", GaugeMetricFamily
    )
    LAG = _Kind("starlings_lag_messages", "messages behind the end of a topic", GaugeMetricFamily)
    LOOP_AGE = _Kind(
        "starlings_loop_age_seconds", "time since the loop's last turn", GaugeMetricFamily
    )
    OPEN_RUNS = _Kind("starlings_open_runs", "runs that have not ended", GaugeMetricFamily)
    OWED = _Kind("starlings_owed_decisions", "decisions not yet confirmed", GaugeMetricFamily)
    INFO = _Kind("starlings_service_info", "which service and instance this is", GaugeMetricFamily)


@dataclass(frozen=True, slots=True)
class _Pulled:
    source: Source
    labels: dict[str, str]
    by: str | None


class ServiceMetrics:
    """The registry of one service; numbers are pulled from callables."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._pulled: dict[Metric, list[_Pulled]] = {}
        self.registry.register(_Pull(self._pulled))
        ProcessCollector(registry=self.registry)

    def pull(self, metric: Metric, source: Source, *, by: str | None = None, **labels: str) -> None:
        """Show what `source` returns, under these labels.

        With `by`, the source returns a number per value of that label, such as lag by partition.
        All sources of one metric carry the same labels.
        """
        pulled = self._pulled.setdefault(metric, [])
        if pulled and _names(pulled[0]) != _names(_Pulled(source, labels, by)):
            raise ValueError(f"{metric.value.name} has the labels {_names(pulled[0])}")
        pulled.append(_Pulled(source, labels, by))


def _names(pulled: _Pulled) -> list[str]:
    return sorted(pulled.labels) + ([pulled.by] if pulled.by else [])


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
            family = kind.family(kind.name, kind.help, labels=_names(pulled[0]))
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
    if isinstance(found, Mapping):
        for value, number in dict(found).items():
            family.add_metric([*fixed, str(value)], number)
    else:
        family.add_metric(fixed, found)
