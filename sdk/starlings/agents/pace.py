"""How many steps an instance starts, by what the instances of its agent tell each other.

A provider that answers "too many requests", or is away, is met by one step of one instance. That
publishes a cooldown on `agents`; every instance of the agent, of whatever variant, hears it, starts
nothing until it is over, and goes on. What is at work goes on.

Instances that share a limit (`limits`) start no more steps than they hold of it. One whose share is
none at all (there are more instances than steps at once) leaves the group until it has one, so that
its partitions are served by the others.

The step that met it is handed back: it costs no attempt, and runs again under the same idempotency
key once the cooldown is over. At most `HANDED_BACK_MOST` times for one step; then its error counts,
with `retry_after_s`, and the run's retry policy decides.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from starlings.kafka.codec import Received
from starlings.kafka.follow import Follower, Tombstone
from starlings.kafka.parallel import HandedBack, ParallelConsumer
from starlings.messages import AgentAlive, AgentCooldown, ErrorInfo, StarlingsError, cooldown_key
from starlings.service import KafkaPorts

from .cooldown import FIRST_S, Cooldown, clipped
from .limits import Limit, Share

log = structlog.get_logger(__name__)

HANDED_BACK_MOST = 3
REMEMBERED = 10_000
READ_WITHIN_S = 60.0
TEND_EVERY_S = 0.2
WORTH_SAYING_S = 0.5  # what others would wait longer than they know already
REASON_LIMIT = 500


class Pace:
    """Holds an instance's consumer back while its agent cools down."""

    def __init__(
        self,
        agent: str,
        ports: KafkaPorts,
        consumer: ParallelConsumer,
        *,
        instance: str,
        limits: Sequence[Limit] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.hurry = asyncio.Event()  # the next heartbeat is wanted at once
        self._shares = [Share(limit, f"{agent}/{instance}") for limit in limits]
        self._agent = agent
        self._ports = ports
        self._consumer = consumer
        self._instance = instance
        self._wall = wall
        self._cooldown = Cooldown()
        self._beats = int(wall() * 1_000)  # more than those of a predecessor with this name
        self._in_a_row = 0
        self._said = 0
        self._handed_back: OrderedDict[str, int] = OrderedDict()
        self._reopening: asyncio.TimerHandle | None = None

    @property
    def cooling_down_s(self) -> float:
        """How long nothing is started still."""
        return self._cooldown.remaining_s

    def told(self, beat: AgentAlive) -> AgentAlive:
        """Add to a heartbeat, which is sent then, what is to be said about limits."""
        self._beats += 1
        return beat.model_copy(
            update={
                "number": self._beats,
                "limits": {share.limit.name: share.limit.at_once for share in self._shares},
                "holds": {share.limit.name: share.promise(self._beats) for share in self._shares},
            }
        )

    async def judge(self, step: str, error: ErrorInfo | None) -> ErrorInfo | None:
        """Hear how a step ended; return the error that counts.

        Raises:
            HandedBack: the step met a provider's limit, and is to run again after the cooldown.
        """
        if error is None or not error.cooldown:
            self._in_a_row = 0 if error is None else self._in_a_row
            self._handed_back.pop(step, None)
            return error
        await self._cool_down(error)
        times = self._handed_back.pop(step, 0)
        if times < HANDED_BACK_MOST:
            self._handed_back[step] = times + 1
            while len(self._handed_back) > REMEMBERED:
                self._handed_back.popitem(last=False)
            raise HandedBack(f"{error.code}: {error.message}")
        wait_s = max(self._cooldown.remaining_s, error.retry_after_s or 0.0)
        return error.model_copy(update={"retry_after_s": wait_s})

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Hear of cooldowns within the block; those that are in force are known at its beginning.

        Whoever may not read `agents` cools down by itself alone, and is told so.
        """
        ports, key = self._ports, cooldown_key(self._agent)
        follower = Follower(
            ports.connection,
            ports.codec,
            ports.topics.agents,
            from_start=True,
            tombstones=True,
            where=None if self._shares else lambda record: record.key == key,
        )
        self._apply()
        following = asyncio.create_task(self._follow(follower))
        tending = asyncio.create_task(self._tend())
        known = asyncio.create_task(follower.caught_up.wait())
        try:
            await asyncio.wait(
                {following, known},
                timeout=READ_WITHIN_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if following.done():
                following.result()
            self._review()
            yield
        finally:
            for task in (known, following, tending):
                task.cancel()
            await asyncio.gather(known, following, tending, return_exceptions=True)
            if self._reopening is not None:
                self._reopening.cancel()

    # -- how -----------------------------------------------------------------------------------

    async def _follow(self, follower: Follower) -> None:
        try:
            async with follower:
                async for entry in follower:
                    self._take_in(entry, lying=not follower.caught_up.is_set())
        except StarlingsError as error:
            if self._shares:  # a limit that is not kept is worse than an agent that does not run
                raise
            log.warning("cooldowns of other instances are not heard of", error=str(error))

    def _take_in(self, entry: Received | Tombstone, *, lying: bool) -> None:
        if isinstance(entry, Tombstone):
            for share in self._shares:
                share.forget(entry.key)
            self._review()
            return
        said = entry.message
        age_s = self._wall() - entry.timestamp_ms / 1000 if lying else 0.0
        if isinstance(said, AgentCooldown) and said.agent == self._agent:
            self._hear(said, age_s=age_s)
        elif isinstance(said, AgentAlive) and self._shares:
            for share in self._shares:
                share.hear(f"{said.agent}/{said.instance}", said, age_s=age_s)
            if not lying:
                self._review()

    async def _tend(self) -> None:
        """Give away what is no longer used, and notice who is heard of no more."""
        while self._shares:
            await asyncio.sleep(TEND_EVERY_S)
            self._review()

    def _review(self) -> None:
        running = self._consumer.running
        changed = [share.review(running) for share in self._shares]
        self._apply()  # what is given up is given up before it is said
        if any(changed):
            self.hurry.set()

    def _apply(self) -> None:
        """Let the consumer start as much as cooldown and limits allow."""
        if self._cooldown.remaining_s > 0:
            self._consumer.limit(0)
        else:
            self._consumer.limit(min((share.allowed for share in self._shares), default=None))
        if self._shares:
            none = any(share.fair == 0 for share in self._shares)
            self._consumer.rest(resting=none and not self._consumer.running)

    async def _cool_down(self, error: ErrorInfo) -> None:
        """Begin to wait, and tell the others, where they do not wait as long already."""
        asked_s = error.retry_after_s or FIRST_S * 2.0 ** min(self._in_a_row, 16)
        for_s = clipped(asked_s)
        if for_s <= self._cooldown.remaining_s + WORTH_SAYING_S:
            return  # one of many steps that met it at the same time
        self._in_a_row += 1
        self._said += 1
        said = AgentCooldown(
            agent=self._agent,
            for_s=for_s,
            code=error.code,
            reason=error.message[:REASON_LIMIT],
            set_by=self._instance,
        )
        self._hear(said)
        try:
            await self._ports.publisher.publish(
                self._ports.topics.agents,
                cooldown_key(self._agent),
                said,
                id=f"{self._agent}/{said.NAME}/{self._instance}/{self._said}",
                subject=self._agent,
            )
        except StarlingsError as failure:
            log.warning("the other instances are not told to wait", error=str(failure))

    def _hear(self, said: AgentCooldown, *, age_s: float = 0.0) -> None:
        waiting = self._cooldown.remaining_s > 0
        if not self._cooldown.hear(said, age_s=age_s):
            return
        if not waiting:
            log.warning(
                "cooling down: no step is started for a while",
                agent=self._agent,
                for_s=round(self._cooldown.remaining_s, 1),
                reason=said.reason,
                set_by=said.set_by,
            )
        self._hold()

    def _hold(self) -> None:
        """Start nothing as long as the cooldown lasts; then go on."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        remaining_s = self._cooldown.remaining_s
        self._apply()
        if remaining_s > 0:
            loop = asyncio.get_running_loop()
            self._reopening = loop.call_later(remaining_s, self._hold)
            return
        log.info("the cooldown is over", agent=self._agent)
