"""Which records of a topic a shadow takes: those of its window, and of them only steps it wants.

What lies behind the window waits without being done, for a later window. What is not wanted is done
at once. Nothing is claimed: a shadow has no effect, so a step may be tried twice.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping

from starlings.kafka.custody import Verdict
from starlings.kafka.execution import Running
from starlings.kafka.offsets import Done
from starlings.kafka.partition import Record
from starlings.kafka.pool import Pool


class WindowCustody:
    """The custody (`starlings.kafka.custody`) of a shadow."""

    def __init__(self, wanted: Container[tuple[int, int]], ends: Mapping[int, int]) -> None:
        self._wanted = wanted
        self._ends = ends

    def attach(self, pool: Pool) -> None:
        """Ask nothing of the pool."""

    async def restore(self, partitions: Collection[int]) -> None:
        """Know all there is to know already."""

    def opened(self, partition: int, done: Done, end: int) -> None:
        """Keep nothing of a partition."""

    def assigned(self, partitions: Collection[int]) -> None:
        """Hold nothing that is anybody's."""

    def concerns(self, partition: int) -> bool:  # noqa: ARG002 - all are concerned
        """Judge every record."""
        return True

    def verdict(self, partition: int, record: Record) -> Verdict:
        """Start what is wanted, leave what lies behind the window, be done with the others."""
        if record.offset >= self._ends.get(partition, 0):
            return Verdict.HELD
        wanted = (partition, record.offset) in self._wanted
        return Verdict.START if wanted else Verdict.DONE

    async def revoking(self) -> None:
        """Claim nothing."""

    def keeps(self, running: Running) -> bool:  # noqa: ARG002 - as above
        """Let nothing go on that is another's."""
        return False

    async def begin(self, running: Running) -> None:
        """Claim nothing."""

    async def ended(self, running: Running) -> None:
        """Let go of nothing."""

    async def handed_back(self, running: Running) -> None:
        """Let go of nothing."""
