"""An instance's place in the registry: its agent's definition, its heartbeats, its farewell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from starlings.messages import AgentAlive, AgentDefined, agent_key
from starlings.service import KafkaPorts

log = structlog.get_logger(__name__)

BEAT_EVERY_S = 5.0
AGAIN_AFTER_S = 1.0


@asynccontextmanager
async def registered(
    definition: AgentDefined | None,
    ports: KafkaPorts,
    alive: Callable[[], AgentAlive],
    *,
    hurry: asyncio.Event | None = None,
) -> AsyncGenerator[None]:
    """Be in the registry for as long as the block lasts; `alive` describes the instance now.

    Heartbeats go out one after the other; `hurry` asks for the next one at once.
    """
    if definition is not None:
        await _enter(ports, definition, agent_key(definition.agent))
    beating = asyncio.create_task(_beat(ports, alive, hurry or asyncio.Event()))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        with contextlib.suppress(Exception):  # its heartbeats end in any case
            gone = alive()
            await ports.publisher.tombstone(
                ports.topics.agents, agent_key(gone.agent, gone.instance)
            )


async def _beat(ports: KafkaPorts, alive: Callable[[], AgentAlive], hurry: asyncio.Event) -> None:
    while True:
        hurry.clear()
        beat = alive()
        try:
            await _enter(ports, beat, agent_key(beat.agent, beat.instance))
        except Exception as error:
            log.warning("heartbeat not published", error=str(error))
            await asyncio.sleep(AGAIN_AFTER_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), BEAT_EVERY_S)


async def _enter(ports: KafkaPorts, entry: AgentDefined | AgentAlive, key: bytes) -> None:
    await ports.publisher.publish(
        ports.topics.agents,
        key,
        entry,
        id=f"{key.decode()}/{entry.NAME}",
        subject=entry.agent,
    )
