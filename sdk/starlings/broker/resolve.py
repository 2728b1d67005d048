"""Which broker `dev` and `demo` use: the user's, one that already runs here, else a new one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .daemon import DEFAULT_PORT, default_data_folder, status
from .jars import VERSION, Progress, report
from .local import LocalBroker
from .ports import is_free


@dataclass(frozen=True)
class ResolvedBroker:
    """A broker to use: its address, a sentence for people, and what ends it if it is ours."""

    bootstrap: str
    description: str
    close: Callable[[], None]


def _leave() -> None:
    """Close nothing: the broker is not ours."""


def resolve_broker(data: Path | None = None, *, progress: Progress = report) -> ResolvedBroker:
    """Find or start a broker.

    `KAFKA_BOOTSTRAP` if set; else the broker that runs over the data folder; else a new one over
    that folder, on port 9092 if that is free, which `close` stops again (its data stays).
    """
    demanded = os.environ.get("KAFKA_BOOTSTRAP")
    if demanded:
        told = f"your Kafka on {demanded} (KAFKA_BOOTSTRAP)"
        return ResolvedBroker(demanded, told, _leave)
    folder = data or default_data_folder()
    found = status(folder)
    if found.status == "running" and found.bootstrap:
        return ResolvedBroker(found.bootstrap, f"{found.message} already: using it", _leave)
    broker = LocalBroker(
        folder, port=DEFAULT_PORT if is_free(DEFAULT_PORT) else 0, progress=progress
    )
    broker.start()
    told = f"Apache Kafka {VERSION}, started here on {broker.bootstrap}, data in {broker.data}"
    return ResolvedBroker(broker.bootstrap, told, broker.close)
