"""Starting a Kafka client such that nothing is left open when that is cancelled.

aiokafka opens a connection to meet the cluster, and closes it when it has. Cancelled in between, it
loses sight of it, and the socket stays open until the garbage collector finds it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

STARTED_WITHIN_S = 5.0


class Startable(Protocol):
    """A client of aiokafka."""

    async def start(self) -> None:
        """Connect."""


async def start_client(client: Startable) -> None:
    """Start a client; when this is cancelled, the start is seen to its end first, for a while.

    Raises:
        KafkaError: whatever the client raised.
    """
    starting = asyncio.create_task(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting}, timeout=STARTED_WITHIN_S)
        if not starting.done():
            starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        raise
