"""Readers of a world's log: what they know, however far back they began, has to be the same."""

from __future__ import annotations

from typing import Any

from starlings.choreography import CarryPolicy, Ledger
from starlings.choreography.state_hash import slice_hash

from .coordinator import Coordinator, fold_record, plain
from .log import Log

SMALL = CarryPolicy(
    look_back_records=30,
    look_back_ms=20_000,
    carry_after_records=25,
    carry_after_ms=60_000,
    sample_every=4,
)


def recovered(log: Log, start: int) -> Ledger:
    """Recover a ledger from `start` to the end of the log, as the shell does."""
    reader = Coordinator(log, start=start, policy=SMALL)
    while reader.ledger.recovering:
        fold_record(reader.ledger, log.records[reader.ledger.position])
        reader._finish_recovery()
    return reader.ledger


def view(ledger: Ledger, run_ids: set[str]) -> dict[str, Any]:
    """Say what a ledger knows that matters for what it will do with the next record."""
    assert not ledger.parked, ledger.parked
    ledger.position += 1  # what the look-back holds, is asked with a new record at hand
    try:
        return _view(ledger, run_ids)
    finally:
        ledger.position -= 1


def _view(ledger: Ledger, run_ids: set[str]) -> dict[str, Any]:
    return {
        "runs": {run_id: plain(run) for run_id, run in ledger.runs.items()},
        "state": slice_hash(ledger.runs.values()),  # what coordinators report
        "anchors": {run_id: place.offset for run_id, place in ledger.anchors.items()},
        "ended lately": {r for r in run_ids if ledger._ended_lately(r)},
        "repeated": dict(ledger.repeated),
        "early": {r: place for r, (place, _) in ledger.early.items() if ledger._lately(place)},
    }
