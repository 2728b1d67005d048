"""Which topics exist: a step whose agent has no topic must fail, and not hang."""

from __future__ import annotations

import asyncio
import time

from aiokafka.errors import KafkaError

from starlings.kafka.connection import Connection
from starlings.messages import StarlingsError

ASK_EVERY_S = 1.0


class TopicDirectory:
    """The topics that are known to exist; asked again at most every second."""

    def __init__(self, connection: Connection, *, ask_every_s: float = ASK_EVERY_S) -> None:
        self._connection = connection
        self._ask_every_s = ask_every_s
        self._known: set[str] = set()
        self._asking: asyncio.Task[bool] | None = None
        self._asked = float("-inf")

    def knows(self, topic: str) -> bool:
        """Say whether a topic was there when it was last looked at; asks nobody."""
        return topic in self._known

    def forget(self, topic: str) -> None:
        """Look at a topic again before the next record for it."""
        self._known.discard(topic)

    async def has(self, topic: str) -> bool:
        """Say whether a topic exists; where that cannot be found out now, assume it does.

        A topic is missing only where an answer says so that was asked for after this call: agents
        make their topics when they start.
        """
        before = self._asking
        if before is not None and not before.done():
            await asyncio.shield(before)
        if topic in self._known:
            return True
        if self._asking is None or self._asking is before or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        answered = await asyncio.shield(self._asking)
        return topic in self._known or not answered

    async def _ask(self) -> bool:
        """Ask for all topics, and say whether there was an answer."""
        wait_s = self._asked + self._ask_every_s - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._asked = time.monotonic()
        try:
            self._known = await self._connection.topic_names()
        except (KafkaError, StarlingsError, OSError, TimeoutError):
            return False
        return True
