"""Who else may be at work on the records of a partition: what a parallel consumer asks about it.

A group's rebalance takes partitions away while records of theirs are at work. Without a custody
those are cancelled and begun anew by the next owner. With one, its holder goes on with what it has
claimed, and the next owner leaves that alone until the claim ends.

All but `restore`, `revoking` and what concerns one record at work is called under the event loop
and awaits nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .execution import Running
    from .offsets import Done
    from .partition import Record
    from .pool import Pool


class Verdict(enum.Enum):
    """What is to become of a record that is about to be started."""

    START = "start"
    RESUME = "resume"  # start it: something is kept of an earlier start
    HELD = "held"  # somebody else is at work on it
    DONE = "done"  # somebody else has brought it to its end


class Custody(Protocol):
    """Claims of records at work, over rebalances and crashes."""

    def attach(self, pool: Pool) -> None:
        """Hear which records are at work here, before anything else is called."""

    async def restore(self, partitions: Collection[int]) -> None:
        """Learn what others hold, before a record of these partitions is started."""

    def opened(self, partition: int, done: Done, end: int) -> None:
        """Hear what is done of a restored partition, and where it ends at the moment."""

    def assigned(self, partitions: Collection[int]) -> None:
        """Hear which partitions are ours from now on; all others are not."""

    def concerns(self, partition: int) -> bool:
        """Say whether there may be another verdict than START in a partition; asked often."""

    def verdict(self, partition: int, record: Record) -> Verdict:
        """Say what is to become of a record; one that is HELD is parked in the pool."""

    async def revoking(self) -> None:
        """Claim all that is at work, within a bound: partitions are about to be taken away."""

    def keeps(self, running: Running) -> bool:
        """Say whether a record at work goes on although its partition is lost."""

    async def begin(self, running: Running) -> None:
        """Take over a record of which something is kept."""

    async def ended(self, running: Running) -> None:
        """Let go of a record that was brought to its end."""

    async def handed_back(self, running: Running) -> None:
        """Let go of a record that was cancelled, within a bound."""
