"""How often the planner asks its model: not at all while the provider has asked for quiet.

A provider that answers "too many requests", or is away, is met by one request of one planner. That
publishes a cooldown on `agents`, under a name of the planner's own; every planner hears it, and
begins no question to the model until it is over. Requests that bring their plan along need no model
and go on. The request that met it is tried again afterwards, as often as any that fails; those that
waited meanwhile have not used up a try.
"""

from __future__ import annotations

import asyncio

import structlog

from starlings.agents.cooldown import FIRST_S, Cooldown, clipped
from starlings.agents.registry import Registry
from starlings.messages import AgentCooldown, StarlingsError, TransientError, cooldown_key
from starlings.service import KafkaPorts

log = structlog.get_logger(__name__)

NAME = "starlings-planner"  # among the agents' cooldowns
MOST_UNTOLD_S = 8.0  # where the provider does not say for how long
WORTH_SAYING_S = 0.5  # what others would wait longer than they know already
REASON_LIMIT = 500


class ModelPace:
    """What one planner knows of its provider's limits."""

    def __init__(self, ports: KafkaPorts, registry: Registry, *, instance: str) -> None:
        self._ports = ports
        self._registry = registry
        self._instance = instance
        self._own = Cooldown()  # also where the registry cannot be read or written
        self._in_a_row = 0
        self._said = 0

    @property
    def remaining_s(self) -> float:
        """How long no model is asked still."""
        heard = self._registry.cooldown(NAME)
        return max(self._own.remaining_s, heard.remaining_s if heard is not None else 0.0)

    async def turn(self) -> None:
        """Wait until the model may be asked."""
        while True:
            remaining_s = self.remaining_s
            if remaining_s <= 0:
                return
            await asyncio.sleep(remaining_s)

    def went_well(self) -> None:
        """Hear that the model has answered."""
        self._in_a_row = 0

    async def met(self, error: TransientError) -> None:
        """Hear of a provider's limit or outage; tell the others, where that is news to them."""
        untold_s = min(FIRST_S * 2.0 ** min(self._in_a_row, 16), MOST_UNTOLD_S)
        for_s = clipped(error.retry_after_s or untold_s)
        if for_s <= self.remaining_s + WORTH_SAYING_S:
            return  # one of many requests that met it at the same time
        self._in_a_row += 1
        self._said += 1
        reason = str(error)[:REASON_LIMIT]
        said = AgentCooldown(
            agent=NAME, for_s=for_s, code=error.code, reason=reason, set_by=self._instance
        )
        self._own.hear(said)
        log.warning("the model is not asked for a while", for_s=round(for_s, 1), reason=reason)
        try:
            await self._ports.publisher.publish(
                self._ports.topics.agents,
                cooldown_key(NAME),
                said,
                id=f"{NAME}/{said.NAME}/{self._instance}/{self._said}",
                subject=NAME,
            )
        except StarlingsError as failure:
            log.warning("other planners are not told to wait", error=str(failure))
