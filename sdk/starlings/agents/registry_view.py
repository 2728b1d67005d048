"""The registry as one process sees it, kept up to date from the `agents` topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlings.kafka.codec import Codec
from starlings.kafka.connection import Connection
from starlings.kafka.follow import Follower, Tombstone
from starlings.messages import AgentAlive, AgentCooldown, AgentDefined, Topics

from .registry import Registry

READ_WITHIN_S = 60.0


@asynccontextmanager
async def registry_view(
    connection: Connection, codec: Codec, topics: Topics
) -> AsyncGenerator[Registry]:
    """Have the registry, complete at the beginning of the block and live within it."""
    follower = Follower(connection, codec, topics.agents, from_start=True, tombstones=True)
    registry = Registry(hearing=follower.hearing)
    following = asyncio.create_task(_follow(follower, registry))
    try:
        caught_up = asyncio.create_task(follower.caught_up.wait())
        done, _ = await asyncio.wait(
            {caught_up, following},
            timeout=READ_WITHIN_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        caught_up.cancel()
        if following in done:
            following.result()
        yield registry
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(follower: Follower, registry: Registry) -> None:
    async for entry in follower:
        if isinstance(entry, Tombstone):
            registry.forget(entry.key)
        elif isinstance(entry.message, AgentDefined):
            registry.define(entry.message)
        elif isinstance(entry.message, AgentAlive | AgentCooldown):
            sent_ms = None if follower.caught_up.is_set() else entry.timestamp_ms
            if isinstance(entry.message, AgentAlive):
                registry.beat(entry.message, sent_ms=sent_ms)
            else:
                registry.cool(entry.message, sent_ms=sent_ms)
