"""One short number for the state of all open runs, the same for every reader that knows the same.

The hash of a run is that of its snapshot, written canonically: the order in which keys, decisions
that are owed, timers and undoings came about does not count. Those of all runs are added up, so
that their order does not count either.

Whoever has little time hashes a slice of the runs at a time: those whose id falls into it by its
CRC-32. Of that, runs of more than `STEPS_AT_ONCE` steps are left out; that both sides do so follows
from the runs alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple
from zlib import crc32

from . import snapshot
from .state import Run

STEPS_AT_ONCE = 1_000
_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)
_UNORDERED = ("owed", "timers", "undos")


class StateHash(NamedTuple):
    """The hash of some runs, how many these are, and how many were too long to be hashed."""

    value: str
    runs: int
    left_out: int = 0


def hash_of(hashes: Iterable[int]) -> StateHash:
    """Add up the hashes of runs."""
    total = count = 0
    for one in hashes:
        total = (total + one) % _MODULUS
        count += 1
    return StateHash(f"{total:0{2 * _BYTES}x}", count)


def slices_for(runs: Iterable[Run]) -> int:
    """Say into how many slices runs are cut, so that each has about `STEPS_AT_ONCE` steps."""
    steps = sum(max(1, len(run.order)) for run in runs if not is_too_long(run))
    return max(1, -(-steps // STEPS_AT_ONCE))


def is_too_long(run: Run) -> bool:
    """Tell whether a run is left out of slices."""
    return len(run.order) > STEPS_AT_ONCE


def is_in_slice(run_id: str, number: int, slices: int) -> bool:
    """Tell whether a run falls into a slice; they are counted from 0."""
    return crc32(run_id.encode()) % slices == number


def slice_hash(runs: Iterable[Run], number: int = 0, slices: int = 1) -> StateHash:
    """Hash the runs of one slice."""
    chosen = [run for run in runs if is_in_slice(run.run_id, number, slices)]
    short = [run for run in chosen if not is_too_long(run)]
    return hash_of(map(run_hash, short))._replace(left_out=len(chosen) - len(short))


def run_hash(run: Run) -> int:
    """Hash one run."""
    told = written([run.run_id, run.plan_offset, canonical_state(run)])
    return int.from_bytes(blake2b(told.encode(), digest_size=_BYTES).digest(), "big")


def canonical_state(run: Run) -> dict[str, Any]:
    """Save a run such that equal runs give equal values."""
    state = snapshot.save(run)
    for name in _UNORDERED:
        state[name].sort(key=written)
    return state


def written(value: Any) -> str:
    """Write a JSON value such that the order of keys does not count."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
