"""The dead letters as one process sees them: read once, or kept up to date."""

from __future__ import annotations

import asyncio

from aiokafka import ConsumerRecord

from starlings.messages import Topics

from .codec import Codec
from .connection import Connection
from .follow import Follower
from .letters import Letters

READ_WITHIN_S = 300.0


async def read_letters(connection: Connection, codec: Codec, topics: Topics) -> Letters:
    """Read all dead letters that there are now, without their values.

    Raises:
        ConfigError: the topic is missing, or this user may not read it.
        TimeoutError: Kafka did not answer in time.
    """
    letters = Letters()
    async with asyncio.timeout(READ_WITHIN_S):
        await keep_letters(letters, connection, codec, topics, to_end=True)
    return letters


async def keep_letters(
    letters: Letters, connection: Connection, codec: Codec, topics: Topics, *, to_end: bool = False
) -> None:
    """Take in all dead letters that there are, and those to come until this is cancelled.

    Raises:
        ConfigError: the topic is missing, or this user may not read it.
    """

    def look(record: ConsumerRecord) -> bool:
        letters.add(record)
        return False  # nothing needs to be decoded

    follower = Follower(
        connection, codec, topics.dead_letters, from_start=True, to_end=to_end, where=look
    )
    async with follower:
        async for _ in follower:
            pass
