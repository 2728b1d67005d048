"""Reports of a partition's state as a hash, so that anybody can hold it against the log.

They cost little whatever is open: a slice of about `STEPS_AT_ONCE` steps at a time, the next one
next time, finer slices where values are large, and never more than a thousandth of the time. The
hash is made between two records, so it is the state at one offset.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlings.choreography import Ledger
from starlings.choreography.snapshot import STATE_VERSION
from starlings.choreography.state_hash import slice_hash, slices_for
from starlings.kafka.restore_point import StateReport

LONG_S = 0.05
SHARE = 1_000  # of the time may be spent on it
FINEST = 1_024


class Reporting:
    """The reports of one partition; `latest` goes into its commits."""

    def __init__(
        self, partition: int, *, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.latest: StateReport | None = None
        self._partition = partition
        self._every_s = every_s
        self._clock = clock
        self._due: float | None = None
        self._next = 0
        self._finer = 1

    def tend(self, ledger: Ledger) -> None:
        """Report where that is due; nothing while the log is being read back."""
        if not self._every_s or ledger.recovering:
            return
        now = self._clock()
        if self._due is None:  # partitions report one after the other
            self._due = now + self._partition % self._every_s
        if now < self._due:
            return
        report = self._report(ledger)
        took = self._clock() - now
        self._due = now + max(self._every_s, took * SHARE)
        if report is not None:
            self.latest = report
            self._learn(took, report.runs)

    def _report(self, ledger: Ledger) -> StateReport | None:
        """Hash the next slice; None where it would say the same again."""
        slices = slices_for(ledger.runs.values()) * self._finer
        latest = self.latest
        if latest is not None and latest.at == ledger.position and latest.slices == slices == 1:
            return None
        number = self._next % slices
        self._next = number + 1
        found = slice_hash(ledger.runs.values(), number, slices)
        return StateReport(
            at=ledger.position,
            restore_from=ledger.restore_from(),
            hash=found.value,
            runs=found.runs,
            left_out=found.left_out,
            parked=len(ledger.parked),
            slice=number,
            slices=slices,
            state_version=STATE_VERSION,
            look_back_records=ledger.policy.look_back_records,
            look_back_ms=ledger.policy.look_back_ms,
            carry_after_records=ledger.policy.carry_after_records,
        )

    def _learn(self, took: float, runs: int) -> None:
        """Cut finer where a few steps have much to say."""
        if took > LONG_S and runs > 1:
            self._finer = min(2 * self._finer, FINEST)
        elif took < LONG_S / 8:
            self._finer = max(1, self._finer // 2)
